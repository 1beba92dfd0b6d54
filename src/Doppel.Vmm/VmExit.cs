using Doppel.Machine.Cpu;

namespace Doppel.Vmm;

/// <summary>How a virtual machine ended.</summary>
public sealed record VmExit
{
    /// <summary>The kind of end.</summary>
    public required VmExitKind Kind { get; init; }

    /// <summary>One line for a person; it says where, when the guest failed.</summary>
    public required string Message { get; init; }

    /// <summary>For <see cref="VmExitKind.DebugExit"/>: twice what the guest wrote to the port, plus one. A process's exit code is its low byte.</summary>
    public int DebugStatus { get; init; }

    /// <summary>Where the vCPU was, when the guest failed.</summary>
    public CpuLocation? Location { get; init; }

    /// <summary>For <see cref="VmExitKind.InternalError"/>: what happened.</summary>
    public Exception? Error { get; init; }
}

/// <summary>Kinds of end of a virtual machine.</summary>
public enum VmExitKind
{
    /// <summary>The guest powered the machine off (ACPI S5).</summary>
    PowerOff,

    /// <summary>The guest reset the machine, and <see cref="MachineSpec.RebootOnReset"/> is off.</summary>
    Reset,

    /// <summary>A fault during the delivery of a double fault: the processor shut down.</summary>
    TripleFault,

    /// <summary>The guest's kernel reported its own crash.</summary>
    GuestCrash,

    /// <summary>The guest wrote to isa-debug-exit.</summary>
    DebugExit,

    /// <summary>The user of the library stopped it.</summary>
    Stopped,

    /// <summary>It was saved, to go on later (<see cref="Snapshots.SaveOptions.Ends"/>).</summary>
    Suspended,

    /// <summary>It was moved to another process, where it goes on (<see cref="Migration.MigrationSource"/>).</summary>
    Migrated,

    /// <summary>A fault of the virtual machine monitor itself; only this VM ended.</summary>
    InternalError,
}
