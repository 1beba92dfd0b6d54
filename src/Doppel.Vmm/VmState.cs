namespace Doppel.Vmm;

/// <summary>Where a virtual machine is in its life.</summary>
public enum VmState
{
    /// <summary>Made and not started.</summary>
    Created,

    /// <summary>Its vCPUs execute and its time goes on.</summary>
    Running,

    /// <summary>Its vCPUs and its time stand still.</summary>
    Paused,

    /// <summary>Over.</summary>
    Ended,
}
