namespace Doppel.Vmm.Images;

/// <summary>A package as a package list describes it.</summary>
/// <param name="Name">Package name.</param>
/// <param name="Version">Version.</param>
/// <param name="Depends">The Depends field; empty when there is none.</param>
/// <param name="FileName">Path of the file below the mirror.</param>
/// <param name="Size">Bytes of the file.</param>
/// <param name="Sha256">SHA-256 of the file, hexadecimal.</param>
public sealed record DebPackage(string Name, string Version, string Depends, string FileName, long Size, string Sha256)
{
    internal static DebPackage? FromControl(Dictionary<string, string> fields) =>
        fields.TryGetValue("Package", out string? name)
        && fields.TryGetValue("Version", out string? version)
        && fields.TryGetValue("Filename", out string? file)
        && fields.TryGetValue("SHA256", out string? hash)
            ? new DebPackage(
                name,
                version,
                fields.GetValueOrDefault("Depends", ""),
                file,
                long.TryParse(fields.GetValueOrDefault("Size", "0"), out long size) ? size : 0,
                hash)
            : null;
}
