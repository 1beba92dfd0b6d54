using System.Diagnostics;
using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Engines.Kvm;

/// <summary>Exits of one vCPU by their kind. One thread counts, any may read: each count is one word.</summary>
internal sealed class KvmStatistics
{
    private static readonly string[] Names =
    [
        "port I/O", "memory-mapped I/O", "halt", "end of interrupt", "interrupt window", "MSR", "task priority", "signal", "interpreted instruction", "debug", "shutdown", "other",
    ];

    private readonly ulong[] _counts = new ulong[Names.Length];
    private readonly long[] _ticks = new long[Names.Length];
    private KvmExitKind _kind;
    private long _begin;

    /// <summary>Entries into the guest.</summary>
    internal ulong Entries { get; private set; }

    /// <summary>The guest has been left.</summary>
    internal void Begin() => _begin = Stopwatch.GetTimestamp();

    /// <summary>What it was left for.</summary>
    internal void Count(KvmExitKind kind)
    {
        _kind = kind;
        _counts[(int)kind]++;
    }

    /// <summary>It is entered again, or the exit is dealt with otherwise.</summary>
    internal void End()
    {
        if (_begin == 0)
            return;
        _ticks[(int)_kind] += Stopwatch.GetTimestamp() - _begin;
        _begin = 0;
    }

    /// <summary>The guest is entered.</summary>
    internal void Enter()
    {
        End();
        Entries++;
    }

    /// <summary>All that has happened at least once.</summary>
    internal IReadOnlyList<ExitStatistics> Exits =>
    [
        .. Names.Select((name, i) => new ExitStatistics(name, Volatile.Read(ref _counts[i]), Stopwatch.GetElapsedTime(0, Volatile.Read(ref _ticks[i])).TotalSeconds))
            .Where(exit => exit.Count != 0),
    ];
}
