namespace Doppel.Host.Kvm;

/// <summary>What a vCPU is doing, by a kernel that has its local APIC (KVM_MP_STATE_* of linux/kvm.h).</summary>
public enum KvmActivity : uint
{
    /// <summary>It executes.</summary>
    Runnable = 0,

    /// <summary>It has never been started.</summary>
    Uninitialized = 1,

    /// <summary>It waits for its start-up IPI.</summary>
    InitReceived = 2,

    /// <summary>It waits for an interrupt.</summary>
    Halted = 3,

    /// <summary>Its start-up IPI has come.</summary>
    StartUpReceived = 4,
}
