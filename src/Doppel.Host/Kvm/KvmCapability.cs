namespace Doppel.Host.Kvm;

/// <summary>What a host's KVM may have (KVM_CAP_* of linux/kvm.h).</summary>
public enum KvmCapability
{
    /// <summary>Guest memory from this process (Linux 2.6.24).</summary>
    UserMemory = 3,

    /// <summary>A place for the task state that Intel's real mode needs.</summary>
    SetTssAddress = 4,

    /// <summary>KVM_SET_CPUID2.</summary>
    ExtendedCpuid = 7,

    /// <summary>Whether a vCPU runs, is halted or waits for its start-up can be read and set.</summary>
    MultiprocessingState = 14,

    /// <summary>NMIs from this process.</summary>
    UserNmi = 22,

    /// <summary>Breakpoints and steps that the guest doesn't see.</summary>
    SetGuestDebug = 23,

    /// <summary>What the kernel does with interrupt inputs can be said.</summary>
    InterruptRouting = 25,

    /// <summary>Writes to an address that end at an eventfd.</summary>
    IoEventFd = 36,

    /// <summary>A place for the page table that Intel's real mode needs.</summary>
    SetIdentityMapAddress = 37,

    /// <summary>Pending exceptions, interrupts and shadows can be read and set.</summary>
    VcpuEvents = 41,

    /// <summary>Debug registers can be read and set.</summary>
    DebugRegisters = 50,

    /// <summary>Extended state can be read and set.</summary>
    Xsave = 55,

    /// <summary>XCR0 can be read and set.</summary>
    Xcrs = 56,

    /// <summary>The guest's TSC can count at a rate of its own.</summary>
    TscControl = 60,

    /// <summary>The TSC's rate can be asked for.</summary>
    GetTscKilohertz = 61,

    /// <summary>Most vCPUs of a VM.</summary>
    MaximumVcpus = 66,

    /// <summary>The kernel's local APICs have the TSC deadline timer.</summary>
    TscDeadlineTimer = 72,

    /// <summary>Registers are shared with the kernel at each exit; a mask of which.</summary>
    SynchronizedRegisters = 74,

    /// <summary>Message-signalled interrupts from this process.</summary>
    SignalMessage = 77,

    /// <summary>Memory to which the guest can't write.</summary>
    ReadOnlyMemory = 81,

    /// <summary>Local APICs in the kernel, IOAPIC and 8259s in this process (Linux 4.4).</summary>
    SplitInterruptController = 121,

    /// <summary>Attributes of a vCPU, its TSC's offset among them (Linux 5.16).</summary>
    VcpuAttributes = 127,

    /// <summary>A byte that makes the next KVM_RUN return at once (Linux 4.13).</summary>
    ImmediateExit = 136,

    /// <summary>MSRs that this process answers (Linux 5.10).</summary>
    UserSpaceMsr = 188,

    /// <summary>Which MSRs this process answers (Linux 5.10).</summary>
    MsrFilter = 189,

    /// <summary>System registers with the PDPTEs (Linux 5.14).</summary>
    SystemRegisters2 = 200,

    /// <summary>Counts of a VM and of its vCPUs by a descriptor (Linux 5.14).</summary>
    StatisticsFile = 203,
}
