using System.IO.Compression;
using Doppel.Machine.State;

namespace Doppel.Devices.Display.Vga;

/// <summary>The saved form of a display's memory: compressed, for most of it is zeros or one colour.</summary>
internal static class VideoMemoryState
{
    internal static void Save(StateWriter writer, ReadOnlySpan<byte> memory)
    {
        var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
            zlib.Write(memory);
        writer.Write(packed.GetBuffer().AsSpan(0, (int)packed.Length));
    }

    /// <exception cref="InvalidDataException">There are not so many bytes.</exception>
    internal static byte[] Read(StateReader reader, string section, int length)
    {
        // Noise grows by a sixteenth at the fastest level: a byte of it takes nine bits at most.
        byte[] packed = reader.ReadBytes(length + (length / 8) + 1024);
        byte[] memory = new byte[length];
        using var zlib = new ZLibStream(new MemoryStream(packed), CompressionMode.Decompress);
        if (zlib.ReadAtLeast(memory, length, throwOnEndOfStream: false) != length || zlib.ReadByte() >= 0)
            throw new InvalidDataException($"section {section}: the display's memory has not {length} bytes");
        return memory;
    }
}
