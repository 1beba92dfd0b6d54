using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm;

/// <summary>
/// Where what outlives a machine's process is kept: a folder for each machine, by its name, with its snapshots and its
/// suspended state. Readable by people; everything in it appears and disappears whole.
/// </summary>
/// <param name="path">The directory; it need not exist.</param>
public sealed class StateDirectory(string path)
{
    /// <summary>Name of the only snapshot in <see cref="SuspendedOf"/>.</summary>
    public const string SuspendedName = "state";

    /// <summary>The directory's path.</summary>
    public string Path { get; } = path;

    /// <summary>This user's: <c>$XDG_STATE_HOME/doppel</c>, or <c>~/.local/state/doppel</c>.</summary>
    public static StateDirectory ForUser()
    {
        string? state = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
        if (state is null || !System.IO.Path.IsPathRooted(state))
            state = System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify), ".local", "state");
        return new StateDirectory(System.IO.Path.Combine(state, "doppel"));
    }

    /// <summary>A machine's folder.</summary>
    public string FolderOf(string machine) => System.IO.Path.Combine(Path, "machines", Checked(machine));

    /// <summary>A machine's snapshots.</summary>
    public SnapshotStore SnapshotsOf(string machine) => new(System.IO.Path.Combine(FolderOf(machine), "snapshots"));

    /// <summary>The folder in which a suspended machine's state lies, as the snapshot <see cref="SuspendedName"/>.</summary>
    public SnapshotStore SuspendedOf(string machine) => new(System.IO.Path.Combine(FolderOf(machine), "suspended"));

    /// <summary>True when a machine of that name is suspended.</summary>
    public bool IsSuspended(string machine) => SuspendedOf(machine).Has(SuspendedName);

    /// <summary>Removes a machine's suspended state: it goes on, or is given up.</summary>
    public void RemoveSuspended(string machine) => SnapshotWriter.RemoveFolder(SuspendedOf(machine).Path);

    // A name leads nowhere else.
    private static string Checked(string machine) => MachineSpecValidation.IsName(machine) && machine is not ("." or "..")
        ? machine
        : throw new SpecException("name", $"\"{machine}\" can't be a machine's name: 1 to {MachineSpec.MaximumName} letters, digits, dots, dashes and underscores, not only digits, would be right");
}
