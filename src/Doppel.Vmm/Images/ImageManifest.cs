using System.Text.Json.Serialization;

namespace Doppel.Vmm.Images;

/// <summary>What an image is made of: manifest.json in its directory.</summary>
public sealed record ImageManifest
{
    /// <summary>File name of a manifest.</summary>
    public const string FileName = "manifest.json";

    /// <summary>Version of this layout and of what the image contains: an image of another version counts as missing.</summary>
    public const int CurrentFormat = 8;

    /// <summary>Version of the layout that was written.</summary>
    public int Format { get; init; } = CurrentFormat;

    /// <summary>Name of the image, for example "busybox".</summary>
    public required string Name { get; init; }

    /// <summary>When it was made, UTC.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Kernel version, for example "6.1.0-1-cloud-amd64".</summary>
    public required string KernelVersion { get; init; }

    /// <summary>Command line that the guest needs.</summary>
    public required string CommandLine { get; init; }

    /// <summary>File name of the root disk, a raw image; null for a guest that runs in its initial RAM disk.</summary>
    public string? Disk { get; init; }

    /// <summary>Packages that the image was made from.</summary>
    public required IReadOnlyList<ImagePackage> Packages { get; init; }

    /// <summary>Files of the image.</summary>
    public required IReadOnlyList<ImageFile> Files { get; init; }
}

/// <summary>A package that went into an image.</summary>
/// <param name="Name">Package name.</param>
/// <param name="Version">Package version.</param>
/// <param name="Sha256">SHA-256 of the package file, hexadecimal; null where apt fetched and checked it.</param>
public sealed record ImagePackage(string Name, string Version, string? Sha256);

/// <summary>A file of an image.</summary>
/// <param name="Name">Name in the image's directory.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Sha256">SHA-256, hexadecimal; null for a disk, which is mostly holes.</param>
public sealed record ImageFile(string Name, long Size, string? Sha256);

/// <summary>JSON of the manifest, without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(IReadOnlyList<ImageManifest>))]
public sealed partial class ImageJson : JsonSerializerContext;
