using Doppel.Vmm.Limits;
using Doppel.Vmm.Migration;

namespace Doppel.Vmm.Control;

/// <summary>What is asked of a running machine: one line of JSON.</summary>
/// <param name="Verb">What to do: one of <see cref="Verbs"/>.</param>
public sealed record ControlRequest(string Verb)
{
    /// <summary>Asks for <see cref="ControlReply.Statistics"/>.</summary>
    public const string Statistics = "statistics";

    /// <summary>Stops vCPUs and time.</summary>
    public const string Pause = "pause";

    /// <summary>Lets them go on.</summary>
    public const string Resume = "resume";

    /// <summary>Makes a snapshot: <see cref="Name"/>, <see cref="Description"/>, <see cref="IsFull"/>. Answers <see cref="ControlReply.Snapshot"/>.</summary>
    public const string Snapshot = "snapshot";

    /// <summary>Goes back to the snapshot <see cref="Name"/>.</summary>
    public const string Revert = "revert";

    /// <summary>Removes the snapshot <see cref="Name"/>, with <see cref="IsRecursive"/> also those that differ from it. Answers <see cref="ControlReply.Removed"/>.</summary>
    public const string RemoveSnapshot = "remove-snapshot";

    /// <summary>Saves the machine and ends it.</summary>
    public const string Suspend = "suspend";

    /// <summary>Asks for <see cref="ControlReply.CpuUse"/>, after setting <see cref="CpuShare"/>, which holds until the connection ends.</summary>
    public const string Share = "share";

    /// <summary>Changes the <see cref="Engine"/>, the <see cref="Balloon"/>, the <see cref="CpuCap"/>, <see cref="DiskLimits"/> or <see cref="NetworkLimits"/>.</summary>
    public const string Update = "update";

    /// <summary>Asks for <see cref="ControlReply.BalloonReport"/>, after setting <see cref="Balloon"/>.</summary>
    public const string BalloonReport = "balloon";

    /// <summary>Puts the image <see cref="Medium"/> into the drive <see cref="Drive"/>, or takes out what is in it; <see cref="IsForced"/>.</summary>
    public const string ChangeMedium = "change-medium";

    /// <summary>Presses the power button.</summary>
    public const string PowerButton = "power-button";

    /// <summary>Resets the machine.</summary>
    public const string Reset = "reset";

    /// <summary>Ends the machine at once.</summary>
    public const string Stop = "stop";

    /// <summary>Waits until the guest has come further than <see cref="After"/> says. Answers <see cref="ControlReply.Readiness"/>.</summary>
    public const string Readiness = "readiness";

    /// <summary>Waits for tones of the PC's speaker behind <see cref="After"/>. Answers <see cref="ControlReply.Tones"/>.</summary>
    public const string Tones = "tones";

    /// <summary>Asks how SSH reaches the guest: <see cref="ControlReply.Access"/>.</summary>
    public const string Access = "access";

    /// <summary>Begins to move the machine to <see cref="Target"/>, by <see cref="Migration"/>. Answers <see cref="ControlReply.Migration"/>.</summary>
    public const string Migrate = "migrate";

    /// <summary>Waits for progress behind <see cref="After"/>. Answers <see cref="ControlReply.Migration"/>.</summary>
    public const string MigrationProgress = "migration";

    /// <summary>Cancels the migration, if that is still possible. Answers <see cref="ControlReply.Migration"/>.</summary>
    public const string CancelMigration = "cancel-migration";

    /// <summary>Says whether the target has the machine (<see cref="IsAccepted"/>), when that is in doubt. Answers <see cref="ControlReply.Migration"/>.</summary>
    public const string SettleMigration = "settle-migration";

    /// <summary>Waits for the machine's end. Answers <see cref="ControlReply.Exit"/>.</summary>
    public const string Wait = "wait";

    /// <summary>Makes of the connection, behind the answer, the machine's serial console, if the machine offers it.</summary>
    public const string Console = "console";

    /// <summary>Cancels the request with <see cref="IsFollowed"/> that is under way on the same connection, which is answered then; has no answer itself.</summary>
    public const string Cancel = "cancel";

    /// <summary>Asks for <see cref="ControlReply.Screen"/>.</summary>
    public const string Screenshot = "screenshot";

    /// <summary>Types and points: <see cref="Input"/>.</summary>
    public const string SendInput = "input";

    /// <summary>All verbs.</summary>
    public static IReadOnlyList<string> Verbs { get; } = [Statistics, Wait, Readiness, Tones, Console, Pause, Resume, Snapshot, Revert, RemoveSnapshot, Suspend, Migrate, MigrationProgress, CancelMigration, SettleMigration, Update, Share, BalloonReport, ChangeMedium, PowerButton, Reset, Stop, Access, Cancel, Screenshot, SendInput];

    /// <summary>True to be told how far it is (<see cref="ControlReply.Progress"/>, in lines before the answer's), and to be able to cancel it.</summary>
    public bool IsFollowed { get; init; }

    /// <summary>A snapshot's name; null for the next free one.</summary>
    public string? Name { get; init; }

    /// <summary>What is said of a snapshot.</summary>
    public string? Description { get; init; }

    /// <summary>True to save all of memory.</summary>
    public bool IsFull { get; init; }

    /// <summary>True for a snapshot that is only a clone's way to its state; see <see cref="Snapshots.SaveOptions.IsPassing"/>.</summary>
    public bool IsPassing { get; init; }

    /// <summary>True to remove with a snapshot those that need it.</summary>
    public bool IsRecursive { get; init; }

    /// <summary>The engine to go on under; null for the present one.</summary>
    public string? Engine { get; init; }

    /// <summary>A drive: cdrom0, floppy0 and so on.</summary>
    public string? Drive { get; init; }

    /// <summary>Absolute path of an image; null for none.</summary>
    public string? Medium { get; init; }

    /// <summary>True to do it though the guest has locked the drive.</summary>
    public bool IsForced { get; init; }

    /// <summary>Where the machine goes.</summary>
    public MigrationAddress? Target { get; init; }

    /// <summary>How it goes there; null for the defaults.</summary>
    public MigrationOptions? Migration { get; init; }

    /// <summary>The sequence number of the progress, of the readiness or of the tone that is known; 0 for none (-1 for no readiness, or to be told only the tones' number).</summary>
    public long After { get; init; }

    /// <summary>True when the target has the machine.</summary>
    public bool IsAccepted { get; init; }

    /// <summary>Bytes that the balloon asks the guest to give back; null to leave that as it is.</summary>
    public ulong? Balloon { get; init; }

    /// <summary>Processors of the host that the machine may use; 0 for all; null to leave that as it is.</summary>
    public double? CpuCap { get; init; }

    /// <summary>Limits of disks that are to change; null for none.</summary>
    public IReadOnlyList<DeviceLimits>? DiskLimits { get; init; }

    /// <summary>Limits of network cards that are to change; null for none.</summary>
    public IReadOnlyList<DeviceLimits>? NetworkLimits { get; init; }

    /// <summary>The same for <see cref="Share"/>; null for all.</summary>
    public double? CpuShare { get; init; }

    /// <summary>What is to be typed and pointed at.</summary>
    public InputRequest? Input { get; init; }
}
