namespace Doppel.Machine.Cpu;

/// <summary>
/// An x86 exception on its way from the place that found it to the engine that delivers it. Thrown with
/// <c>throw cpu.Fault(...)</c>; each vCPU reuses one instance, so it must never be kept. It costs about 2 µs.
/// </summary>
#pragma warning disable CA1032, CA1064, RCS1194 // Never constructed by callers: VirtualCpu.Fault hands out the only instance.
public sealed class GuestFault : Exception
{
    internal GuestFault()
        : base("A guest exception escaped its engine.")
    {
    }

    /// <summary>The exception's vector.</summary>
    public ExceptionVector Vector { get; internal set; }

    /// <summary>The error code, for vectors that push one.</summary>
    public uint ErrorCode { get; internal set; }

    /// <summary>For #PF: the linear address, which goes to CR2 at delivery.</summary>
    public ulong Address { get; internal set; }

    /// <summary>For #DB: the bits that delivery sets in DR6.</summary>
    public ulong DebugStatus { get; internal set; }

    /// <summary>True for a trap (delivered after the instruction: RIP is the next one) and false for a fault.</summary>
    public bool IsTrap { get; internal set; }

    /// <summary>True for no exception of the guest's at all: a debugger's watchpoint was touched inside a block.</summary>
    internal bool IsWatchedAccess { get; set; }
}
