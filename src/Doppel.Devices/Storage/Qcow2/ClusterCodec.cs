using System.IO.Compression;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Compression;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>Compresses and decompresses single clusters.</summary>
internal static class ClusterCodec
{
    /// <summary>QEMU decompresses deflate with a window of 4096 bytes, so farther distances may not occur.</summary>
    private const int WindowBits = 12;

    /// <summary>Compresses a cluster.</summary>
    /// <returns>The bytes; null when they would not be fewer.</returns>
    /// <exception cref="DiskImageException">The host lacks the library.</exception>
    internal static byte[]? Compress(Qcow2Compression compression, ReadOnlySpan<byte> cluster)
    {
        byte[] target = new byte[cluster.Length - 1];
        int length;
        if (compression == Qcow2Compression.Zstandard)
        {
            Require(Zstandard.IsAvailable, "libzstd.so.1 (Debian's package libzstd1)");
            length = Zstandard.Compress(cluster, target);
        }
        else
        {
            Require(Zlib.IsAvailable, "libz.so.1 (Debian's package zlib1g)");
            length = Zlib.Compress(cluster, target, WindowBits);
        }

        return length < 0 ? null : target[..length];
    }

    /// <summary>Decompresses a cluster.</summary>
    /// <param name="compression">How it was compressed.</param>
    /// <param name="source">Its bytes, which others may follow.</param>
    /// <param name="cluster">Filled.</param>
    /// <exception cref="ImageDamageException">The bytes are no such cluster.</exception>
    internal static void Decompress(Qcow2Compression compression, byte[] source, Span<byte> cluster)
    {
        int length = 0;
        if (compression == Qcow2Compression.Zstandard)
        {
            Require(Zstandard.IsAvailable, "libzstd.so.1 (Debian's package libzstd1)");
            length = Zstandard.Decompress(source, cluster);
        }
        else
        {
            try
            {
                using var stream = new DeflateStream(new MemoryStream(source), CompressionMode.Decompress);
                length = stream.ReadAtLeast(cluster, cluster.Length, throwOnEndOfStream: false);
            }
            catch (InvalidDataException)
            {
                length = -1;
            }
        }

        if (length != cluster.Length)
            throw new ImageDamageException("a compressed cluster can't be decompressed");
    }

    private static void Require(bool isAvailable, string library)
    {
        if (!isAvailable)
            throw new DiskImageException($"the image's compression needs {library} on this host");
    }
}
