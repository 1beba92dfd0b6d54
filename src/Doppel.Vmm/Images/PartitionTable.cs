using System.Buffers.Binary;

namespace Doppel.Vmm.Images;

/// <summary>A master boot record with one partition, by whose identity ("PARTUUID") a kernel finds its root (UEFI 2.10, section 5.2).</summary>
internal static class PartitionTable
{
    private const int SectorSize = 512;
    private const byte LinuxType = 0x83;

    /// <summary>Writes the record into a disk image and gives the image its length.</summary>
    /// <param name="path">The image.</param>
    /// <param name="signature">The disk's signature; not 0.</param>
    /// <param name="offset">First byte of the partition, which reaches to the end.</param>
    /// <param name="size">Bytes of the disk.</param>
    internal static void Write(string path, uint signature, long offset, long size)
    {
        byte[] sector = new byte[SectorSize];
        BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(440), signature);
        Span<byte> entry = sector.AsSpan(446, 16);
        // Cylinders, heads and sectors say that only the block addresses count.
        ReadOnlySpan<byte> none = [0xFE, 0xFF, 0xFF];
        none.CopyTo(entry[1..]);
        none.CopyTo(entry[5..]);
        entry[4] = LinuxType;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], (uint)(offset / SectorSize));
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], (uint)Math.Min((size - offset) / SectorSize, uint.MaxValue));
        sector[510] = 0x55;
        sector[511] = 0xAA;
        using FileStream file = File.OpenWrite(path);
        file.Write(sector);
        file.SetLength(size);
    }
}
