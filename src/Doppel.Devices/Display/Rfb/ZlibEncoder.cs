using System.IO.Compression;

namespace Doppel.Devices.Display.Rfb;

/// <summary>One zlib stream that goes on over all rectangles of a connection.</summary>
internal sealed class ZlibEncoder : IDisposable
{
    private readonly MemoryStream _packed = new();
    private readonly ZLibStream _zlib;

    internal ZlibEncoder() => _zlib = new ZLibStream(_packed, CompressionLevel.Fastest, leaveOpen: true);

    /// <summary>Compresses bytes so that the other end can have all of them.</summary>
    /// <returns>Valid until the next call.</returns>
    internal ReadOnlySpan<byte> Pack(ReadOnlySpan<byte> bytes)
    {
        _packed.SetLength(0);
        _zlib.Write(bytes);
        _zlib.Flush();
        return _packed.GetBuffer().AsSpan(0, (int)_packed.Length);
    }

    public void Dispose() => _zlib.Dispose();
}
