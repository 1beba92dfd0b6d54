using Doppel.Vmm;

namespace Doppel.Api;

/// <summary>A machine that is kept by name, whether it runs or not: definition.json in its folder.</summary>
public sealed record MachineRecord
{
    /// <summary>What it is made of, with absolute paths. Its name is the machine's.</summary>
    public required MachineSpec Spec { get; init; }

    /// <summary>When it starts again by itself.</summary>
    public RestartPolicy Restart { get; init; }

    /// <summary>True when it is removed as soon as it has ended.</summary>
    public bool AutoRemove { get; init; }

    /// <summary>When it was created.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>
    /// The files behind its disks' images, which its process may read: as they were before its first run, since a guest that has
    /// taken its process over could write other names into its images. Null before that.
    /// </summary>
    public IReadOnlyList<string>? Behind { get; init; }

    /// <summary>The migration by which it came to this host; null when it was created here.</summary>
    public Guid? Migration { get; init; }
}

/// <summary>When a machine starts again that has ended by itself.</summary>
public enum RestartPolicy
{
    /// <summary>Never.</summary>
    No,

    /// <summary>When it has failed: its guest crashed, or Doppel did.</summary>
    OnFailure,

    /// <summary>Always, unless it was stopped or suspended.</summary>
    Always,
}

/// <summary>The process in which a machine runs: worker.json in its folder.</summary>
/// <param name="ProcessId">Its number.</param>
/// <param name="ProcessStart">When it was started (<see cref="Host.Processes.HostProcess.StartOf"/>), which tells it from a later one of that number.</param>
/// <param name="Socket">Its control socket.</param>
/// <param name="Started">When the machine began to run.</param>
public sealed record WorkerRecord(int ProcessId, ulong ProcessStart, string Socket, DateTimeOffset Started);

/// <summary>How a machine's last run ended: exit.json in its folder.</summary>
/// <param name="Message">One line for a person.</param>
/// <param name="Code">The exit code that doppel run would have had.</param>
/// <param name="Ended">When.</param>
public sealed record ExitRecord(string Message, int Code, DateTimeOffset Ended)
{
    /// <summary>The kind of end; null when its process was killed.</summary>
    public VmExitKind? Kind { get; init; }
}
