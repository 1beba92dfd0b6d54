using Doppel.Vmm.Readiness;

namespace Doppel.Vmm.Snapshots;

/// <summary>What a snapshot is and what it consists of: its manifest.json.</summary>
public sealed record SnapshotManifest
{
    /// <summary>What <see cref="Format"/> says.</summary>
    public const string FormatName = "doppel snapshot";

    /// <summary>The version that is written.</summary>
    public const int CurrentVersion = 1;

    /// <summary>The oldest version that is read.</summary>
    public const int OldestVersion = 1;

    /// <summary>Says that the file is a manifest: <see cref="FormatName"/>.</summary>
    public required string Format { get; init; }

    /// <summary>Version of the layout of folder and manifest; sections have versions of their own.</summary>
    public required int Version { get; init; }

    /// <summary>Tells it from all others, wherever they are.</summary>
    public required Guid Id { get; init; }

    /// <summary>Its name, which is its folder's.</summary>
    public required string Name { get; init; }

    /// <summary>What its maker says of it.</summary>
    public string Description { get; init; } = "";

    /// <summary>When the machine stood still for it.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Nanoseconds of guest time then.</summary>
    public required long GuestTime { get; init; }

    /// <summary>The snapshot that has the pages of memory which this one lacks; null when it has all.</summary>
    public string? Parent { get; init; }

    /// <summary>That snapshot's <see cref="Id"/>.</summary>
    public Guid? ParentId { get; init; }

    /// <summary>The machine. Its engine is what it ran on; any other may go on with it.</summary>
    public required MachineSpec Machine { get; init; }

    /// <summary>The sections, in the order in which they are restored; the last is the table of <see cref="MemoryPages"/>.</summary>
    public required IReadOnlyList<SectionEntry> Sections { get; init; }

    /// <summary>Pages of memory that the snapshot itself has.</summary>
    public required ulong Pages { get; init; }

    /// <summary>How far the guest had come; null in snapshots of a Doppel that didn't look.</summary>
    public GuestReadiness? Readiness { get; init; }

    /// <summary>
    /// The boot of the host (/proc/sys/kernel/random/boot_id) in which it was written without waiting for the disk; null when it was waited for. In another boot
    /// its memory is compared with its checksums before it is used.
    /// </summary>
    public string? UnsyncedBoot { get; init; }

    /// <summary>The disks, in the machine's order.</summary>
    public IReadOnlyList<DiskEntry> Disks { get; init; } = [];
}

/// <summary>A section in the file <see cref="SnapshotFolder.SectionsFile"/>.</summary>
/// <param name="Name">Its name, unique in the snapshot.</param>
/// <param name="Version">Version of its layout.</param>
/// <param name="Offset">First byte in the file.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Sha256">Checksum of the bytes, hexadecimal.</param>
public sealed record SectionEntry(string Name, int Version, long Offset, int Length, string Sha256);

/// <summary>How a disk of a snapshot can be had again.</summary>
public sealed record DiskEntry
{
    /// <summary>The image that the machine wrote to, or only read.</summary>
    public required string Path { get; init; }

    /// <summary>What was kept of it.</summary>
    public required DiskState State { get; init; }

    /// <summary>For <see cref="DiskState.Internal"/>: the name of the image's internal snapshot. For <see cref="DiskState.Copied"/> and <see cref="DiskState.Contained"/>: the file in the folder.</summary>
    public string? Place { get; init; }

    /// <summary>Bytes of the guest's disk.</summary>
    public required ulong Length { get; init; }
}

/// <summary>What a snapshot keeps of a disk.</summary>
public enum DiskState
{
    /// <summary>Nothing: the guest could not write to it.</summary>
    ReadOnly,

    /// <summary>An internal snapshot in the qcow2 image itself.</summary>
    Internal,

    /// <summary>An overlay in the snapshot's folder with what the guest had written to an ephemeral disk.</summary>
    Copied,

    /// <summary>All of it, as a raw image in the snapshot's folder: the machine's own file was temporary.</summary>
    Contained,

    /// <summary>Nothing: the machine ended with the state, so the image stays as it was left. It must not be written before the machine goes on.</summary>
    Left,
}
