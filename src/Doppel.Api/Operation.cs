using System.Text.Json;
using Doppel.Vmm.Control;

namespace Doppel.Api;

/// <summary>Something that takes its time: a start, a snapshot, a clone. The daemon keeps it for a while after its end.</summary>
public sealed record Operation
{
    /// <summary>Its number, as the daemon counts: unique as long as that runs.</summary>
    public required string Id { get; init; }

    /// <summary>What is done: start, stop, restart, resume, suspend, snapshot, restore, clone or migrate.</summary>
    public required string Kind { get; init; }

    /// <summary>The machine's name when it began.</summary>
    public required string Machine { get; init; }

    /// <summary>Where it is.</summary>
    public required OperationState State { get; init; }

    /// <summary>When it began.</summary>
    public required DateTimeOffset Began { get; init; }

    /// <summary>When it ended; null while it runs.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>How far it is; null as long as that isn't known.</summary>
    public OperationProgress? Progress { get; init; }

    /// <summary>Why it failed or was cancelled: one line; null when it didn't.</summary>
    public string? Error { get; init; }

    /// <summary>The HTTP status that goes with <see cref="Error"/>.</summary>
    public int? Status { get; init; }

    /// <summary>What came of it: a MachineView, for a snapshot a SnapshotReport, for a migration a MigrationProgress; null until it is done.</summary>
    public JsonElement? Result { get; init; }
}

/// <summary>Where an operation is.</summary>
public enum OperationState
{
    /// <summary>It is under way.</summary>
    Running,

    /// <summary>It has done what was asked.</summary>
    Done,

    /// <summary>It has failed; what it was about is as before.</summary>
    Failed,

    /// <summary>It was cancelled; what it was about is as before.</summary>
    Cancelled,
}
