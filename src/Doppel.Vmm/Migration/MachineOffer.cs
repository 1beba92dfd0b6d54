using System.Text.Json.Serialization;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Readiness;

namespace Doppel.Vmm.Migration;

/// <summary>What the source says of a machine before anything else, so that the target can refuse it.</summary>
internal sealed record MachineOffer
{
    /// <summary>The version of the protocol that is spoken here.</summary>
    internal const int CurrentVersion = 1;

    /// <summary>Version of the protocol.</summary>
    public required int Version { get; init; }

    /// <summary>Tells this migration from all others.</summary>
    public required Guid Id { get; init; }

    /// <summary>What the target's daemon has given, so that nobody else is let in.</summary>
    public required string Ticket { get; init; }

    /// <summary>The machine, with its present engine and the addresses of its cards.</summary>
    public required MachineSpec Machine { get; init; }

    /// <summary>The features that its CPU model has at the source.</summary>
    public required IReadOnlyList<string> CpuFeatures { get; init; }

    /// <summary>Its parts, in their order.</summary>
    public required IReadOnlyList<OfferedPart> Parts { get; init; }

    /// <summary>Its disks.</summary>
    public required IReadOnlyList<OfferedDisk> Disks { get; init; }

    /// <summary>The files that it boots from.</summary>
    public required IReadOnlyList<OfferedFile> Files { get; init; }

    /// <summary>Connections that carry memory.</summary>
    public required int Connections { get; init; }
}

/// <summary>A part of a machine.</summary>
/// <param name="Name">Name of its section.</param>
/// <param name="Version">Version of what the source writes.</param>
internal sealed record OfferedPart(string Name, int Version);

/// <summary>A disk.</summary>
/// <param name="Length">Bytes of the guest's disk.</param>
/// <param name="IsReadOnly">True when the guest can't write to it.</param>
/// <param name="PreferredBlockSize">As <see cref="DiskImage.PreferredBlockSize"/>, which the guest knows.</param>
/// <param name="DiscardGranularity">As <see cref="DiskImage.DiscardGranularity"/>, which the guest knows.</param>
/// <param name="Format">The image's format.</param>
/// <param name="IsCopied">True when its content comes along; false when the target opens the same image.</param>
internal sealed record OfferedDisk(ulong Length, bool IsReadOnly, int PreferredBlockSize, int DiscardGranularity, DiskFormat Format, bool IsCopied);

/// <summary>A file that the machine boots from, also after its next reset.</summary>
/// <param name="Path">Its path at the source.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Sha256">Checksum, hexadecimal.</param>
internal sealed record OfferedFile(string Path, long Length, string Sha256);

/// <summary>The target's consent.</summary>
/// <param name="Files">Numbers of the files that it lacks.</param>
/// <param name="HasZstandard">True when it can decompress Zstandard.</param>
internal sealed record MachineWelcome(IReadOnlyList<int> Files, bool HasZstandard)
{
    /// <summary>True when it wants to know which code the source has translated.</summary>
    public bool TranslatesAhead { get; init; }

    /// <summary>Where the source sends pages when the machine runs at the target; null when none can come then.</summary>
    public MigrationAddress? Pager { get; init; }

    /// <summary>Why none can; null when they can, or nobody has asked.</summary>
    public string? NoPostCopy { get; init; }
}

/// <summary>What a further connection says.</summary>
/// <param name="Id">The migration.</param>
/// <param name="Ticket">As <see cref="MachineOffer.Ticket"/>.</param>
/// <param name="Number">The connection, from 0, or <see cref="Question"/>.</param>
internal sealed record JoinRequest(Guid Id, string Ticket, int Number)
{
    /// <summary>Instead of a connection's number: asks how the migration has ended.</summary>
    internal const int Question = -1;
}

/// <summary>What goes with the sections, and is no part's.</summary>
/// <param name="GenerationId">As <see cref="VirtualMachine.GenerationId"/>: a machine that moves is the same one.</param>
/// <param name="IsPaused">True when the user has paused it.</param>
/// <param name="RebootCount">How often its guest has reset it.</param>
/// <param name="BalloonTarget">As <see cref="VirtualMachine.BalloonTarget"/>.</param>
/// <param name="Unplugged">Numbers of the network cards whose cables are pulled.</param>
/// <param name="Input">What was typed on the first serial port and the guest has not read.</param>
internal sealed record MachineRemainder(Guid GenerationId, bool IsPaused, int RebootCount, ulong BalloonTarget, IReadOnlyList<int> Unplugged, byte[] Input)
{
    /// <summary>How far the guest has come; null from a Doppel that doesn't look.</summary>
    public GuestReadiness? Readiness { get; init; }
}

/// <summary>JSON of the protocol, without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineOffer))]
[JsonSerializable(typeof(MachineWelcome))]
[JsonSerializable(typeof(JoinRequest))]
[JsonSerializable(typeof(MachineRemainder))]
internal sealed partial class MigrationJson : JsonSerializerContext;
