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

    internal const string SnapshotsFolder = "snapshots", SuspendedFolder = "suspended";

    /// <summary>The variable that names a directory other than the user's, as a server has it; sockets are in its folder <c>run</c> then.</summary>
    public const string Variable = "DOPPEL_STATE_DIR";

    /// <summary>The directory's path.</summary>
    public string Path { get; } = path;

    /// <summary>This user's: <c>$DOPPEL_STATE_DIR</c>, <c>$XDG_STATE_HOME/doppel</c>, or <c>~/.local/state/doppel</c>.</summary>
    public static StateDirectory ForUser()
    {
        if (Chosen is string chosen)
            return new StateDirectory(chosen);
        string? state = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
        if (state is null || !System.IO.Path.IsPathRooted(state))
            state = System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify), ".local", "state");
        return new StateDirectory(System.IO.Path.Combine(state, "doppel"));
    }

    /// <summary>What <see cref="Variable"/> says; null for nothing.</summary>
    internal static string? Chosen => Environment.GetEnvironmentVariable(Variable) is string chosen && System.IO.Path.IsPathRooted(chosen) ? chosen : null;

    /// <summary>A machine's folder.</summary>
    public string FolderOf(string machine) => System.IO.Path.Combine(Path, "machines", Checked(machine));

    /// <summary>A machine's snapshots.</summary>
    public SnapshotStore SnapshotsOf(string machine) => new(System.IO.Path.Combine(FolderOf(machine), SnapshotsFolder));

    /// <summary>The folder in which a suspended machine's state lies, as the snapshot <see cref="SuspendedName"/>.</summary>
    public SnapshotStore SuspendedOf(string machine) => SuspendedIn(FolderOf(machine));

    /// <summary>The same, in a machine's folder that is known.</summary>
    public static SnapshotStore SuspendedIn(string folder) => new(System.IO.Path.Combine(folder, SuspendedFolder));

    /// <summary>True when a machine of that name is suspended.</summary>
    public bool IsSuspended(string machine) => SuspendedOf(machine).Has(SuspendedName);

    /// <summary>Removes a machine's suspended state: it goes on, or is given up.</summary>
    public void RemoveSuspended(string machine)
    {
        string folder = SuspendedOf(machine).Path;
        // The state itself comes first: without it, the machine is not suspended, whatever else is still there. The folder
        // stays: a confined process may not remove it.
        string[] all = Directory.Exists(folder) ? Directory.GetDirectories(folder) : [];
        foreach (string each in all.OrderByDescending(path => System.IO.Path.GetFileName(path) == SuspendedName))
            SnapshotWriter.RemoveFolder(each);
    }

    // A name leads nowhere else.
    private static string Checked(string machine) => MachineSpecValidation.IsName(machine) && machine is not ("." or "..")
        ? machine
        : throw new SpecException("name", $"\"{machine}\" can't be a machine's name: 1 to {MachineSpec.MaximumName} letters, digits, dots, dashes and underscores, not only digits, would be right");
}
