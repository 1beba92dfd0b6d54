using System.Buffers.Binary;

namespace Doppel.Bench;

/// <summary>The raw image that the disk rows read and write (programs/disk.c says what is on it).</summary>
internal static class DiskFile
{
    private const int BlockSize = 4096;
    private const int Blocks = (256 << 20) / BlockSize;

    /// <summary>Writes it anew, without holes, and waits until the medium has it: nothing is left to be written while machines run.</summary>
    public static void Write(string path)
    {
        using FileStream stream = File.Create(path);
        byte[] block = new byte[BlockSize];
        for (int number = 0; number < Blocks; number++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(block, number);
            stream.Write(block);
        }

        stream.Flush(flushToDisk: true);
    }
}
