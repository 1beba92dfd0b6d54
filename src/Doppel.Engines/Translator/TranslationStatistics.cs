using System.Diagnostics;
using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Engines.Translator;

/// <summary>What a translator has done so far. Written by the vCPU's thread; readers see recent values.</summary>
public sealed class TranslationStatistics
{
    // Two looks at the clock cost half of what an exit does. The first exits of each kind are all timed, later ones at
    // this interval, and each of those stands for the interval.
    private const ulong TimedInterval = 64;
    private static readonly string[] Reasons = ["direct branch", "indirect branch", "TLB miss", "interpreted", "event"];
    private readonly long[] _ticks = new long[Reasons.Length];
    private int _timed = -1;
    private long _weight;
    private long _begin;

    /// <summary>Blocks translated.</summary>
    public ulong Blocks { get; internal set; }

    /// <summary>Guest instructions translated.</summary>
    public ulong Instructions { get; internal set; }

    /// <summary>Blocks that were translated, or translated anew, because they were executed often.</summary>
    public ulong Promoted { get; internal set; }

    /// <summary>Branches patched to lead straight to their target.</summary>
    public ulong Chained { get; internal set; }

    /// <summary>Blocks dropped to make room.</summary>
    public ulong Evicted { get; internal set; }

    /// <summary>Entries into translated code.</summary>
    public ulong Entries { get; private set; }

    /// <summary>Returns by reason, indexed as branch, indirect branch, TLB miss, interpreted instruction, event.</summary>
    public ulong[] Exits { get; } = new ulong[Reasons.Length];

    /// <summary>Time spent on translation, in ticks of <see cref="Stopwatch"/>.</summary>
    internal long TranslationTicks { get; set; }

    /// <summary>Translated code has been left; what follows belongs to this exit.</summary>
    internal void CountExit(int reason)
    {
        ulong count = ++Exits[reason];
        if (count > TimedInterval && count % TimedInterval != 0)
            return;
        _timed = reason;
        _weight = count > TimedInterval ? (long)TimedInterval : 1;
        _begin = Stopwatch.GetTimestamp();
    }

    /// <summary>Translated code is about to be entered.</summary>
    internal void CountEntry()
    {
        Entries++;
        EndExit();
    }

    /// <summary>The engine returns, or enters translated code: the last exit is over.</summary>
    internal void EndExit()
    {
        if (_timed < 0)
            return;
        _ticks[_timed] += _weight * (Stopwatch.GetTimestamp() - _begin);
        _timed = -1;
    }

    /// <summary>The exits with their estimated times.</summary>
    internal IReadOnlyList<ExitStatistics> ListExits() =>
        [.. Reasons.Select((reason, i) => new ExitStatistics(reason, Exits[i], Stopwatch.GetElapsedTime(0, _ticks[i]).TotalSeconds))];
}
