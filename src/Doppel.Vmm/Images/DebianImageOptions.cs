namespace Doppel.Vmm.Images;

/// <summary>What a full Debian system is made of.</summary>
public sealed record DebianImageOptions
{
    /// <summary>Smallest disk: what the packages take, and room to work.</summary>
    public const long MinimumSize = 1L << 30;

    /// <summary>Name of the image.</summary>
    public string Name { get; init; } = DebianImageBuilder.ImageName;

    /// <summary>Suite or code name, for example "bookworm".</summary>
    public string Suite { get; init; } = "bookworm";

    /// <summary>Packages beside those that every image has.</summary>
    public IReadOnlyList<string> Packages { get; init; } = [];

    /// <summary>Bytes of the disk, mostly holes at first; a multiple of 1 MiB.</summary>
    public long Size { get; init; } = 8L << 30;

    /// <summary>URL of a mirror's root; null for Debian's own, with its security updates.</summary>
    public string? Mirror { get; init; }

    /// <summary>False accepts a mirror whose signature can't be checked.</summary>
    public bool RequiresSignature { get; init; } = true;
}
