using Doppel.Vmm.Control;

namespace Doppel.Vmm.Snapshots;

/// <summary>How a machine is saved.</summary>
public sealed record SaveOptions
{
    /// <summary>Name of the snapshot; null for the store's next free one.</summary>
    public string? Name { get; init; }

    /// <summary>What its maker says of it.</summary>
    public string Description { get; init; } = "";

    /// <summary>True to write all of memory; false to write only what differs from the machine's last snapshot, if that is still in the store.</summary>
    public bool IsFull { get; init; }

    /// <summary>True to end the machine when it is saved (suspend): its disks stay as they are then.</summary>
    public bool Ends { get; init; }

    /// <summary>
    /// True for one that is soon removed again, when a clone has been made of it: it doesn't wait until the host's disk has it, and the next snapshot doesn't differ
    /// from it. If the host dies before the disk has it, its memory is compared with its checksums before it is used.
    /// </summary>
    public bool IsPassing { get; init; }

    /// <summary>Told how far it is, by any thread; null for nobody.</summary>
    public Action<OperationProgress>? Progress { get; init; }

    /// <summary>Told what is done next; for tests. Null for nobody.</summary>
    internal Action<string>? Step { get; init; }
}
