using Doppel.Host.Processor;
using Doppel.Machine.Cpu;
using Doppel.Machine.Time;

namespace Doppel.Engines.Translator;

/// <summary>
/// The guest's TSC as a line through the host's, so that emitted code can read it: bias + (host TSC - base) * scale / 2^64.
/// The line is fitted to the machine's clock from time to time; it never jumps, but is steered to where the clock is. While
/// it is not known (the scale is 0) the clock itself is asked.
/// </summary>
/// <remarks>
/// For machines of one vCPU whose clock is the host's: several would have to share one line. Belongs to the vCPU's thread.
/// </remarks>
internal sealed unsafe class HostTime
{
    // In ticks of the host's TSC: how often the line is fitted, what is observed before it is believed, and in what time it
    // is led back to the clock. Two milliseconds, 30 and 100 at 2 GHz.
    private const ulong Interval = 1 << 22;
    private const ulong Baseline = 1 << 26;
    private const ulong Steering = 1 << 28;

    // In ticks of the guest's TSC. The clock stood still or was set when it is farther off than this.
    private const long Jump = 100_000;

    // A pair of readings that took longer was interrupted.
    private const ulong Undisturbed = 2_000;
    private const int Attempts = 4;

    private readonly VirtualCpu _cpu;
    private readonly delegate* unmanaged[SuppressGCTransition]<ulong> _readHost;
    private ulong _firstHost;
    private ulong _firstGuest;
    private ulong _next;

    /// <summary>Begins to observe.</summary>
    /// <param name="cpu">The vCPU, whose state holds the line (<see cref="SystemSlots"/>).</param>
    /// <param name="readHost">Emitted code that returns the host's TSC.</param>
    internal HostTime(VirtualCpu cpu, byte* readHost)
    {
        _cpu = cpu;
        _readHost = (delegate* unmanaged[SuppressGCTransition]<ulong>)readHost;
    }

    private ref ulong Scale => ref Slot(SystemSlots.TscScale);

    private ref ulong NegatedBase => ref Slot(SystemSlots.TscNegatedBase);

    private ref ulong Bias => ref Slot(SystemSlots.TscBias);

    /// <summary>Whether a vCPU's time can be read so.</summary>
    internal static bool IsFor(VirtualCpu cpu) => cpu.CpuCount == 1 && cpu.Clock is HostClock && KernelCapabilities.KeepsTimeByTsc;

    /// <summary>The guest's TSC without the vCPU's offset, as emitted code reads it.</summary>
    internal ulong Read() => Scale == 0 ? _cpu.Clock.Tsc : At(_readHost());

    /// <summary>Has the next <see cref="Update"/> look: the clock may have stood still.</summary>
    internal void Resume() => _next = 0;

    /// <summary>Fits the line when it is time to. Cheap otherwise.</summary>
    internal void Update()
    {
        if (_readHost() < _next || !IsFor(_cpu) || !TryObserve(out ulong host, out ulong guest))
            return;
        _next = host + Interval;
        if (Scale != 0)
        {
            ulong line = At(host);
            long error = (long)(guest - line);
            if (error is < -Jump or > Jump)
            {
                Restart(host, guest);
                return;
            }

            ulong slope = Slope(host, guest);
            long correction = (long)(((Int128)error << 64) / Steering);
            Set(host, line, slope + (ulong)correction);
        }
        else if (_firstHost == 0)
        {
            Restart(host, guest);
        }
        else if (host - _firstHost >= Baseline && guest > _firstGuest && guest - _firstGuest < (host - _firstHost) / 8 * 7)
        {
            Set(host, guest, Slope(host, guest));
        }
    }

    private ulong Slope(ulong host, ulong guest) => (ulong)(((UInt128)(guest - _firstGuest) << 64) / (host - _firstHost));

    private ulong At(ulong host) => Bias + Math.BigMul(host + NegatedBase, Scale, out _);

    private void Set(ulong host, ulong guest, ulong scale)
    {
        Bias = guest;
        NegatedBase = 0 - host;
        Scale = scale;
    }

    private void Restart(ulong host, ulong guest)
    {
        Scale = 0;
        _firstHost = host;
        _firstGuest = guest;
    }

    // Both counters at one moment.
    private bool TryObserve(out ulong host, out ulong guest)
    {
        for (int i = 0; i < Attempts; i++)
        {
            ulong before = _readHost();
            guest = _cpu.Clock.Tsc;
            ulong taken = _readHost() - before;
            host = before + (taken / 2);
            if (taken < Undisturbed)
                return true;
        }

        host = guest = 0;
        return false;
    }

    private ref ulong Slot(int slot) => ref *(ulong*)((byte*)_cpu.State + slot);
}
