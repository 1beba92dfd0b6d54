namespace Doppel.Machine.Cpu.System;

/// <summary>
/// MONITOR and MWAIT. No model announces them: an idle guest uses HLT, which wakes on interrupts only and needs no watch on
/// a memory line that another thread may write at any time.
/// </summary>
public static class MonitorWait
{
    /// <summary>MONITOR: #UD.</summary>
    public static void Monitor(VirtualCpu cpu) => throw cpu.InvalidOpcode();

    /// <summary>MWAIT: #UD.</summary>
    public static void Mwait(VirtualCpu cpu) => throw cpu.InvalidOpcode();
}
