namespace Doppel.Machine.Cpu;

/// <summary>Bits of RFLAGS (Intel SDM vol. 1, 3.4.3).</summary>
public static class CpuFlags
{
    /// <summary>Carry.</summary>
    public const ulong Cf = 1 << 0;

    /// <summary>Bit 1 always reads as one.</summary>
    public const ulong Fixed = 1 << 1;

    /// <summary>Parity of the low byte.</summary>
    public const ulong Pf = 1 << 2;

    /// <summary>Auxiliary (half) carry.</summary>
    public const ulong Af = 1 << 4;

    /// <summary>Zero.</summary>
    public const ulong Zf = 1 << 6;

    /// <summary>Sign.</summary>
    public const ulong Sf = 1 << 7;

    /// <summary>Trap after each instruction.</summary>
    public const ulong Tf = 1 << 8;

    /// <summary>Interrupts enabled.</summary>
    public const ulong If = 1 << 9;

    /// <summary>Direction of string instructions.</summary>
    public const ulong Df = 1 << 10;

    /// <summary>Overflow.</summary>
    public const ulong Of = 1 << 11;

    /// <summary>I/O privilege level, two bits.</summary>
    public const ulong Iopl = 3 << 12;

    /// <summary>Nested task.</summary>
    public const ulong Nt = 1 << 14;

    /// <summary>Resume: masks an instruction breakpoint once.</summary>
    public const ulong Rf = 1 << 16;

    /// <summary>Virtual-8086 mode.</summary>
    public const ulong Vm = 1 << 17;

    /// <summary>Alignment check, or the SMAP override.</summary>
    public const ulong Ac = 1 << 18;

    /// <summary>Virtual interrupt flag.</summary>
    public const ulong Vif = 1 << 19;

    /// <summary>Virtual interrupt pending.</summary>
    public const ulong Vip = 1 << 20;

    /// <summary>CPUID is available when this can be toggled.</summary>
    public const ulong Id = 1 << 21;

    /// <summary>The six status flags.</summary>
    public const ulong Status = Cf | Pf | Af | Zf | Sf | Of;

    /// <summary>Every bit that exists; the rest read as zero (bit 1 as one).</summary>
    public const ulong All = Status | Tf | If | Df | Iopl | Nt | Rf | Vm | Ac | Vif | Vip | Id;
}
