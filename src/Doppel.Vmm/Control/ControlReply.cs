using Doppel.Vmm.Limits;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Readiness;
using Doppel.Vmm.Sound;
using Doppel.Vmm.Ssh;

namespace Doppel.Vmm.Control;

/// <summary>A running machine's answer: one line of JSON, with an error or with what was asked for.</summary>
public sealed record ControlReply
{
    /// <summary>Why there is no answer: what was given and what would be right. Null when there is one.</summary>
    public string? Error { get; init; }

    /// <summary>How far a followed request is; not null says that the answer is still to come.</summary>
    public OperationProgress? Progress { get; init; }

    /// <summary>True when the request was cancelled: what it was about is as before. Null otherwise.</summary>
    public bool? IsCancelled { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Statistics"/>, <see cref="ControlRequest.Pause"/>, <see cref="ControlRequest.Resume"/> and <see cref="ControlRequest.Update"/>.</summary>
    public MachineStatistics? Statistics { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Snapshot"/> and <see cref="ControlRequest.Suspend"/>.</summary>
    public SnapshotReport? Snapshot { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Readiness"/>.</summary>
    public GuestReadiness? Readiness { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Tones"/>.</summary>
    public HeardTones? Tones { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.BalloonReport"/>.</summary>
    public BalloonReport? BalloonReport { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Share"/>.</summary>
    public CpuUse? CpuUse { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Wait"/>.</summary>
    public ExitReport? Exit { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.MigrationProgress"/> and those beside it.</summary>
    public MigrationProgress? Migration { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.RemoveSnapshot"/>: the names of the snapshots that are gone.</summary>
    public IReadOnlyList<string>? Removed { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Access"/>; null for a machine that SSH can't reach.</summary>
    public SshAccess? Access { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Screenshot"/>.</summary>
    public ScreenReport? Screen { get; init; }
}

/// <summary>How a machine ended.</summary>
/// <param name="Kind">The kind of end.</param>
/// <param name="Message">One line for a person.</param>
/// <param name="DebugStatus">As <see cref="VmExit.DebugStatus"/>.</param>
public sealed record ExitReport(VmExitKind Kind, string Message, int DebugStatus);

/// <summary>A snapshot that was made.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Folder">Where it is.</param>
/// <param name="Parent">The snapshot that it differs from; null when it has all of memory.</param>
/// <param name="Pages">Pages of memory that it has, 4 KiB each.</param>
/// <param name="BytesWritten">Bytes of memory that were written for it.</param>
/// <param name="StoppedSeconds">How long the machine stood still.</param>
/// <param name="LongestCheckSeconds">The longest of the stops before that, in which dirty pages were collected.</param>
public sealed record SnapshotReport(string Name, string Folder, string? Parent, ulong Pages, ulong BytesWritten, double StoppedSeconds, double LongestCheckSeconds);
