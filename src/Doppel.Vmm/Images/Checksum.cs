using System.Security.Cryptography;

namespace Doppel.Vmm.Images;

/// <summary>SHA-256 of files.</summary>
internal static class Checksum
{
    internal static async Task<string> OfFileAsync(string path, CancellationToken cancel)
    {
        await using FileStream stream = File.OpenRead(path);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, cancel).ConfigureAwait(false));
    }

    internal static async Task VerifyAsync(string path, string expected, CancellationToken cancel)
    {
        string actual = await OfFileAsync(path, cancel).ConfigureAwait(false);
        if (!actual.Equals(expected, StringComparison.OrdinalIgnoreCase))
            throw new ImageException(ImageError.Checksum, $"{Path.GetFileName(path)}: the SHA-256 is {actual}, the package list says {expected}; try again, or another mirror");
    }
}
