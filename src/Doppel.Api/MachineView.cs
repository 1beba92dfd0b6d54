using Doppel.Vmm;
using Doppel.Vmm.Readiness;

namespace Doppel.Api;

/// <summary>A machine as the API shows it.</summary>
public sealed record MachineView
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Where it is in its life.</summary>
    public required MachineState State { get; init; }

    /// <summary>What it is made of. The engine of a running machine is the one it runs on.</summary>
    public required MachineSpec Spec { get; init; }

    /// <summary>When it starts again by itself.</summary>
    public RestartPolicy Restart { get; init; }

    /// <summary>True when it is removed as soon as it has ended.</summary>
    public bool AutoRemove { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Since when it runs; null when it doesn't.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>How far its guest has come; null when it doesn't run.</summary>
    public GuestReadiness? Readiness { get; init; }

    /// <summary>The process in which it runs; null when it doesn't.</summary>
    public int? ProcessId { get; init; }

    /// <summary>The control socket of that process, which also offers the console; null when it doesn't run.</summary>
    public string? Socket { get; init; }

    /// <summary>How its last run ended; null when it hasn't run, or runs.</summary>
    public ExitRecord? Exit { get; init; }

    /// <summary>Its folder.</summary>
    public required string Folder { get; init; }
}

/// <summary>Where a kept machine is in its life.</summary>
public enum MachineState
{
    /// <summary>It has never run.</summary>
    Created,

    /// <summary>It runs.</summary>
    Running,

    /// <summary>It runs, and stands still.</summary>
    Paused,

    /// <summary>It was saved, to go on later.</summary>
    Suspended,

    /// <summary>It has ended.</summary>
    Exited,

    /// <summary>It was moved to another host.</summary>
    Migrated,
}
