namespace Doppel.Host.Kvm;

/// <summary>Why KVM_RUN has returned (KVM_EXIT_* of linux/kvm.h).</summary>
public enum KvmExit : uint
{
    /// <summary>The hardware's reason is unknown to KVM.</summary>
    Unknown = 0,

    /// <summary>IN, OUT and their string forms.</summary>
    Io = 2,

    /// <summary>KVM_SET_GUEST_DEBUG has found something.</summary>
    Debug = 4,

    /// <summary>HLT.</summary>
    Halt = 5,

    /// <summary>An access where there is no memory.</summary>
    Mmio = 6,

    /// <summary>The guest can take an interrupt now.</summary>
    InterruptWindow = 7,

    /// <summary>A triple fault.</summary>
    Shutdown = 8,

    /// <summary>The processor refused to enter the guest.</summary>
    FailEntry = 9,

    /// <summary>A signal for this thread.</summary>
    Signal = 10,

    /// <summary>The guest has lowered CR8.</summary>
    TaskPriority = 11,

    /// <summary>KVM doesn't know how to go on.</summary>
    InternalError = 17,

    /// <summary>The guest has ended a level-triggered interrupt of the IOAPIC.</summary>
    EndOfInterrupt = 26,

    /// <summary>RDMSR that this process answers.</summary>
    ReadMsr = 29,

    /// <summary>WRMSR that this process answers.</summary>
    WriteMsr = 30,
}
