using System.Buffers.Binary;
using System.IO.Compression;
using Doppel.Devices.Display;

namespace Doppel.Devices.Tests.Display;

public sealed class PngWriterTests
{
    [Fact]
    public void A_picture_can_be_read_back()
    {
        var picture = new PixelSurface();
        _ = picture.Resize(5, 3);
        for (int i = 0; i < 15; i++)
            picture.Pixels[i] = (uint)((i << 16) | (2 * i << 8) | (255 - i));
        byte[] file = PngWriter.Write(picture);
        Assert.Equal([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], file[..8]);
        // Of an empty IEND the checksum is known.
        Assert.Equal([0, 0, 0, 0, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82], file[^12..]);
        Assert.Equal(5, BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(16)));
        Assert.Equal(3, BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(20)));
        int length = BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(33));
        using var zlib = new ZLibStream(new MemoryStream(file, 41, length), CompressionMode.Decompress);
        byte[] rows = new byte[3 * 16];
        zlib.ReadExactly(rows);
        for (int i = 0; i < 15; i++)
        {
            int at = (i / 5 * 16) + 1 + (3 * (i % 5));
            Assert.Equal([(byte)i, (byte)(2 * i), (byte)(255 - i)], rows[at..(at + 3)]);
        }
    }
}
