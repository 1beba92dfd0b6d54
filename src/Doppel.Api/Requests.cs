using Doppel.Vmm;
using Doppel.Vmm.Limits;

namespace Doppel.Api;

/// <summary>Asks for a new machine.</summary>
public sealed record CreateRequest
{
    /// <summary>What it is made of, with absolute paths; its name must be free.</summary>
    public required MachineSpec Spec { get; init; }

    /// <summary>When it starts again by itself.</summary>
    public RestartPolicy Restart { get; init; }

    /// <summary>True to remove it as soon as it has ended.</summary>
    public bool AutoRemove { get; init; }
}

/// <summary>Asks for changes of a machine; what is null stays.</summary>
public sealed record UpdateRequest
{
    /// <summary>The engine: a running machine goes on under it, another will start with it.</summary>
    public string? Engine { get; init; }

    /// <summary>Bytes that the balloon of a running machine asks the guest to give back.</summary>
    public ulong? Balloon { get; init; }

    /// <summary>When it starts again by itself.</summary>
    public RestartPolicy? Restart { get; init; }

    /// <summary>What it gets of the host's processors where others want them, too: <see cref="MachineSpec.CpuWeight"/>.</summary>
    public int? CpuWeight { get; init; }

    /// <summary>Processors of the host that it may use; 0 for all.</summary>
    public double? CpuCap { get; init; }

    /// <summary>Limits of disks that are to change; null for none.</summary>
    public IReadOnlyList<DeviceLimits>? DiskLimits { get; init; }

    /// <summary>Limits of network cards that are to change; null for none.</summary>
    public IReadOnlyList<DeviceLimits>? NetworkLimits { get; init; }
}

/// <summary>Asks for another name.</summary>
/// <param name="Name">The name, which must be free.</param>
public sealed record RenameRequest(string Name);

/// <summary>Asks for a snapshot.</summary>
public sealed record SnapshotRequest
{
    /// <summary>Its name; null for the next free one.</summary>
    public string? Name { get; init; }

    /// <summary>What is said of it.</summary>
    public string? Description { get; init; }

    /// <summary>True to save all of memory.</summary>
    public bool IsFull { get; init; }
}

/// <summary>Asks for a second machine that goes on from where one is or was. It is suspended.</summary>
/// <param name="Name">Its name, which must be free.</param>
public sealed record CloneRequest(string Name)
{
    /// <summary>The snapshot that it goes on from; null for the running machine as it is.</summary>
    public string? Snapshot { get; init; }
}

/// <summary>Asks for a machine to be suspended.</summary>
public sealed record SuspendRequest
{
    /// <summary>What is said of it.</summary>
    public string? Description { get; init; }
}

/// <summary>Why a request was refused.</summary>
/// <param name="Error">One line: what was given, what is wrong, what would be right.</param>
public sealed record ApiError(string Error);

/// <summary>Something that happened to a machine.</summary>
/// <param name="Time">When.</param>
/// <param name="Machine">Its name.</param>
/// <param name="Event">What: created, started, paused, resumed, suspended, updated, snapshot, restored, booted, network-up, set-up, speaker, exited, restarting, renamed, removed; operation, when one begins or ends; at the source of a migration migrating, migrated, not migrated, at its target arriving, arrived, not arrived.</param>
/// <param name="Detail">More, for a person; empty for nothing.</param>
public sealed record MachineEvent(DateTimeOffset Time, string Machine, string Event, string Detail)
{
    /// <summary>The tone of a speaker event; null for another.</summary>
    public EventTone? Tone { get; init; }
}

/// <summary>A tone of a PC's speaker.</summary>
/// <param name="Began">When it began.</param>
/// <param name="Hertz">Its frequency.</param>
/// <param name="Seconds">How long it lasted.</param>
public sealed record EventTone(DateTimeOffset Began, double Hertz, double Seconds);

/// <summary>The daemon.</summary>
/// <param name="Version">Doppel's version.</param>
/// <param name="ProcessId">The daemon's process.</param>
/// <param name="Spares">Workers that wait for a machine.</param>
public sealed record DaemonView(string Version, int ProcessId, int Spares = 0);
