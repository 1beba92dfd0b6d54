using Doppel.Machine.State;

namespace Doppel.Machine.Time;

/// <summary>
/// Deterministic guest time: each retired instruction is <see cref="NanosecondsPerInstruction"/>, and a halted machine
/// skips to its next deadline. The TSC counts nanoseconds (1 GHz), so it counts instructions. The loop that runs the
/// vCPUs advances it and runs what is due; nothing happens on other threads.
/// </summary>
/// <remarks>
/// The loop, with a budget for the engine of <see cref="InstructionsUntilNextDeadline"/>: run; <see cref="Advance"/> by
/// what was retired; <see cref="RunDue"/>; if the machine halted, <see cref="SkipToNextDeadline"/>. A device that arms
/// an earlier timer during a run raises <see cref="DeadlineMoved"/>, so that the loop can shorten the run.
/// </remarks>
public sealed class InstructionClock : IGuestClock, IStateful
{
    /// <summary>Nanoseconds of guest time that one instruction takes.</summary>
    public const int NanosecondsPerInstruction = 1;

    /// <summary>The wall-clock time at guest time 0 unless another is given.</summary>
    public static readonly DateTimeOffset DefaultEpoch = new(2025, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly Lock _ioLock;
    private readonly DateTimeOffset _epoch;
    private readonly VirtualTimerQueue _queue;
    private long _now;

    /// <summary>Creates a clock at 0.</summary>
    /// <param name="ioLock">The machine's I/O lock: held during callbacks.</param>
    /// <param name="epoch">The wall-clock time at guest time 0; <see cref="DefaultEpoch"/> if null.</param>
    public InstructionClock(Lock ioLock, DateTimeOffset? epoch = null)
    {
        _ioLock = ioLock;
        _epoch = epoch ?? DefaultEpoch;
        _queue = new VirtualTimerQueue(() => DeadlineMoved?.Invoke());
    }

    /// <summary>Called when the first deadline has moved forward, on the thread that armed the timer.</summary>
    public Action? DeadlineMoved { get; set; }

    /// <summary>
    /// Instructions that the current run has retired and <see cref="Advance"/> does not know of yet, so that devices see
    /// exact time during a run; null for none. It must return 0 once <see cref="Advance"/> has been told.
    /// </summary>
    public Func<ulong>? InFlight { get; set; }

    /// <inheritdoc/>
    public bool IsDeterministic => true;

    /// <inheritdoc/>
    public long Now => Volatile.Read(ref _now) + ((long)(InFlight?.Invoke() ?? 0) * NanosecondsPerInstruction);

    /// <inheritdoc/>
    public ulong Tsc => (ulong)Now;

    /// <inheritdoc/>
    public ulong TscFrequency => 1_000_000_000;

    /// <inheritdoc/>
    public DateTimeOffset WallClock => _epoch.AddTicks(Now / 100);

    /// <summary>The first deadline in nanoseconds of guest time; null when nothing is armed.</summary>
    public long? NextDeadline => _queue.NextDeadline;

    /// <summary>Instructions after which the first timer is due: 0 when it is already, <see cref="ulong.MaxValue"/> when none is armed.</summary>
    public ulong InstructionsUntilNextDeadline
    {
        get
        {
            long? deadline = NextDeadline;
            if (deadline is null)
                return ulong.MaxValue;
            long wait = deadline.Value - Now;
            return wait <= 0 ? 0 : (ulong)((wait + NanosecondsPerInstruction - 1) / NanosecondsPerInstruction);
        }
    }

    /// <inheritdoc/>
    public string SectionName => "clock";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IGuestTimer CreateTimer(string name, Action callback) => _queue.Create(name, callback);

    /// <summary>Moves time by retired instructions. Fires nothing.</summary>
    public void Advance(ulong instructions) => Volatile.Write(ref _now, _now + ((long)instructions * NanosecondsPerInstruction));

    /// <summary>
    /// Fires the timers that are due, in the order of their deadlines. One that a callback arms meanwhile waits for the
    /// next call, even if it is due, so that a guest cannot keep the loop here.
    /// </summary>
    /// <returns>How many fired.</returns>
    public int RunDue()
    {
        int count = 0;
        long now = Now;
        lock (_ioLock)
        {
            ulong mark = _queue.Mark();
            while (_queue.TakeDue(now, mark) is { } timer)
            {
                timer.Fire();
                count++;
            }
        }

        return count;
    }

    /// <summary>For a machine in which every vCPU is halted: moves time to the first deadline and runs what is due.</summary>
    /// <returns>False when nothing is armed: only an outside event can wake the machine.</returns>
    public bool SkipToNextDeadline()
    {
        long? deadline = NextDeadline;
        if (deadline is null)
            return false;
        if (deadline.Value > _now)
            Volatile.Write(ref _now, deadline.Value);
        _ = RunDue();
        return true;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(Now);

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"clock: version {version} is unknown; {SectionVersion} is expected");
        long now = reader.ReadInt64();
        if (now < 0)
            throw new InvalidDataException($"clock: time is {now} ns; it must not be negative");
        Volatile.Write(ref _now, now);
    }
}
