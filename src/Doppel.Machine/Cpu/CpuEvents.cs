namespace Doppel.Machine.Cpu;

/// <summary>Bits of <see cref="CpuState.PendingEvents"/>.</summary>
[Flags]
public enum PendingEvents
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>An external interrupt can be acknowledged at the local APIC or the PIC (subject to RFLAGS.IF).</summary>
    Interrupt = 1,

    /// <summary>A non-maskable interrupt.</summary>
    Nmi = 2,

    /// <summary>A system management interrupt (accepted and ignored: there is no SMM).</summary>
    Smi = 4,

    /// <summary>An INIT signal.</summary>
    Init = 8,

    /// <summary>A start-up IPI; its vector is in the local APIC.</summary>
    Sipi = 16,

    /// <summary>The VM wants the engine to return (pause, stop, debugger).</summary>
    Kick = 32,

    /// <summary>A timer of a deterministic clock is due.</summary>
    Timer = 64,

    /// <summary>Another vCPU asks for a TLB or code invalidation.</summary>
    Flush = 128,

    /// <summary>A second non-maskable interrupt, which came before the first was taken; set by <see cref="VirtualCpu.Signal"/>.</summary>
    NextNmi = 256,
}

/// <summary>What holds interrupts off until the next instruction has retired.</summary>
[Flags]
public enum InterruptShadow
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>After STI that set IF.</summary>
    Sti = 1,

    /// <summary>After MOV SS or POP SS; also holds off NMI and debug traps.</summary>
    MovSs = 2,

    /// <summary>NMIs are blocked until the next IRET (not one-instruction).</summary>
    NmiBlocked = 4,
}

/// <summary>What a vCPU is doing.</summary>
public enum ActivityState
{
    /// <summary>Executing instructions.</summary>
    Running,

    /// <summary>In HLT (or MWAIT) until an interrupt.</summary>
    Halted,

    /// <summary>An application processor after INIT.</summary>
    WaitForSipi,

    /// <summary>After a triple fault.</summary>
    Shutdown,
}

/// <summary>Exception vectors 0 to 31 (Intel SDM vol. 3, table 6-1).</summary>
public enum ExceptionVector : byte
{
    /// <summary>#DE.</summary>
    DivideError = 0,

    /// <summary>#DB.</summary>
    Debug = 1,

    /// <summary>NMI.</summary>
    NonMaskable = 2,

    /// <summary>#BP.</summary>
    Breakpoint = 3,

    /// <summary>#OF.</summary>
    Overflow = 4,

    /// <summary>#BR.</summary>
    BoundRange = 5,

    /// <summary>#UD.</summary>
    InvalidOpcode = 6,

    /// <summary>#NM.</summary>
    DeviceNotAvailable = 7,

    /// <summary>#DF.</summary>
    DoubleFault = 8,

    /// <summary>#TS.</summary>
    InvalidTss = 10,

    /// <summary>#NP.</summary>
    SegmentNotPresent = 11,

    /// <summary>#SS.</summary>
    StackFault = 12,

    /// <summary>#GP.</summary>
    GeneralProtection = 13,

    /// <summary>#PF.</summary>
    PageFault = 14,

    /// <summary>#MF.</summary>
    X87 = 16,

    /// <summary>#AC.</summary>
    AlignmentCheck = 17,

    /// <summary>#MC.</summary>
    MachineCheck = 18,

    /// <summary>#XM.</summary>
    Simd = 19,
}

/// <summary>Bits of CR0.</summary>
public static class Cr0
{
    /// <summary>Protection enable.</summary>
    public const ulong Pe = 1;

    /// <summary>Monitor coprocessor.</summary>
    public const ulong Mp = 1 << 1;

    /// <summary>Emulate x87.</summary>
    public const ulong Em = 1 << 2;

    /// <summary>Task switched.</summary>
    public const ulong Ts = 1 << 3;

    /// <summary>Extension type; always one.</summary>
    public const ulong Et = 1 << 4;

    /// <summary>Numeric error: native x87 errors.</summary>
    public const ulong Ne = 1 << 5;

    /// <summary>Write protect for supervisor writes.</summary>
    public const ulong Wp = 1 << 16;

    /// <summary>Alignment mask.</summary>
    public const ulong Am = 1 << 18;

    /// <summary>Not write-through.</summary>
    public const ulong Nw = 1 << 29;

    /// <summary>Cache disable.</summary>
    public const ulong Cd = 1 << 30;

    /// <summary>Paging.</summary>
    public const ulong Pg = 1u << 31;
}

/// <summary>Bits of CR4.</summary>
public static class Cr4
{
    /// <summary>Virtual-8086 extensions.</summary>
    public const ulong Vme = 1;

    /// <summary>Protected-mode virtual interrupts.</summary>
    public const ulong Pvi = 1 << 1;

    /// <summary>RDTSC only at CPL 0.</summary>
    public const ulong Tsd = 1 << 2;

    /// <summary>Debugging extensions.</summary>
    public const ulong De = 1 << 3;

    /// <summary>4 MiB pages.</summary>
    public const ulong Pse = 1 << 4;

    /// <summary>Physical address extension.</summary>
    public const ulong Pae = 1 << 5;

    /// <summary>Machine checks.</summary>
    public const ulong Mce = 1 << 6;

    /// <summary>Global pages.</summary>
    public const ulong Pge = 1 << 7;

    /// <summary>RDPMC at any CPL.</summary>
    public const ulong Pce = 1 << 8;

    /// <summary>FXSAVE and SSE.</summary>
    public const ulong Osfxsr = 1 << 9;

    /// <summary>#XM for SIMD floating-point exceptions.</summary>
    public const ulong Osxmmexcpt = 1 << 10;

    /// <summary>User-mode instruction prevention.</summary>
    public const ulong Umip = 1 << 11;

    /// <summary>5-level paging.</summary>
    public const ulong La57 = 1 << 12;

    /// <summary>RDFSBASE and its kin.</summary>
    public const ulong Fsgsbase = 1 << 16;

    /// <summary>Process-context identifiers.</summary>
    public const ulong Pcide = 1 << 17;

    /// <summary>XSAVE.</summary>
    public const ulong Osxsave = 1 << 18;

    /// <summary>Supervisor-mode execution prevention.</summary>
    public const ulong Smep = 1 << 20;

    /// <summary>Supervisor-mode access prevention.</summary>
    public const ulong Smap = 1 << 21;

    /// <summary>Protection keys.</summary>
    public const ulong Pke = 1 << 22;
}

/// <summary>Bits of IA32_EFER.</summary>
public static class Efer
{
    /// <summary>SYSCALL enable.</summary>
    public const ulong Sce = 1;

    /// <summary>Long mode enable.</summary>
    public const ulong Lme = 1 << 8;

    /// <summary>Long mode active (read-only).</summary>
    public const ulong Lma = 1 << 10;

    /// <summary>No-execute enable.</summary>
    public const ulong Nxe = 1 << 11;

    /// <summary>Fast FXSAVE (AMD).</summary>
    public const ulong Ffxsr = 1 << 14;
}
