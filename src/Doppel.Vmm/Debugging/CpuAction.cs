namespace Doppel.Vmm.Debugging;

/// <summary>What a vCPU does when a debugger lets the machine go on.</summary>
public enum CpuAction
{
    /// <summary>Runs.</summary>
    Continue,

    /// <summary>Executes one instruction.</summary>
    Step,

    /// <summary>Stands still.</summary>
    Hold,
}
