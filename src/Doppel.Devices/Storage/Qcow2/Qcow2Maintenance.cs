using System.Buffers.Binary;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// Checks images, and counts them anew: a new refcount table with new blocks, behind everything that is in use, to which the header is
/// switched by one write. A kill before the switch leaves the image as it was. The space of the old ones becomes free.
/// </summary>
public static class Qcow2Maintenance
{
    /// <summary>Checks an image that nobody writes.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="DiskImageException">It can't be opened.</exception>
    public static Qcow2CheckResult Check(string path)
    {
        using ImageFile file = ImageFile.Open(path, isReadOnly: true);
        return new Qcow2Checker(file, Qcow2Header.Read(file)).Run();
    }

    /// <summary>Repairs an image: counts, and what says how often clusters are used.</summary>
    /// <param name="path">Its path.</param>
    /// <returns>What is left.</returns>
    /// <exception cref="DiskImageException">It can't be opened, or its tables are damaged; nothing has then been changed.</exception>
    public static Qcow2CheckResult Repair(string path)
    {
        using ImageFile file = ImageFile.Open(path, isReadOnly: false);
        return Repair(file, Qcow2Header.Read(file));
    }

    /// <summary>Repairs an image that nothing else has open, and marks it as clean.</summary>
    /// <returns>What can't be repaired by counting; empty when all is well.</returns>
    /// <exception cref="DiskImageException">Tables are damaged; nothing has been changed.</exception>
    internal static Qcow2CheckResult Repair(ImageFile file, Qcow2Header header)
    {
        var checker = new Qcow2Checker(file, header);
        Qcow2CheckResult before = checker.Run();
        if (checker.StructuralErrors > 0)
            throw new DiskImageException($"{file.Path}: the image is damaged and can't be repaired by counting its clusters: {before.Errors[0]}");
        var counter = new Qcow2Checker(file, header);
        counter.CountReferences(countsRefcounts: false);
        Rebuild(file, header, counter.Uses);
        MendCopied(file, header, counter.Uses);
        file.Sync();
        header.Incompatible &= ~(Qcow2Features.Dirty | Qcow2Features.Corrupt);
        if (header.Version >= 3)
            file.Write(72, header.FeatureFields());
        file.Sync();
        return new Qcow2Checker(file, header).Run();
    }

    private static void Rebuild(ImageFile file, Qcow2Header header, uint[] uses)
    {
        // The end of the file, not of what is used: the old structure stays whole until the switch.
        ulong end = Math.Max((file.Length + (ulong)header.ClusterSize - 1) >> header.ClusterBits, (ulong)Array.FindLastIndex(uses, u => u != 0) + 1);
        int bits = header.ClusterBits + 3 - header.RefcountOrder;
        ulong blocks = 0, tableClusters = 0, wantedBlocks = 1;
        while (blocks != wantedBlocks)
        {
            blocks = wantedBlocks;
            tableClusters = ((blocks * 8) + (ulong)header.ClusterSize - 1) >> header.ClusterBits;
            wantedBlocks = (end + tableClusters + blocks + (1UL << bits) - 1) >> bits;
        }

        byte[] table = new byte[tableClusters << header.ClusterBits];
        ulong firstBlock = end + tableClusters;
        for (ulong index = 0; index < blocks; index++)
        {
            byte[] block = new byte[header.ClusterSize];
            for (int i = 0; i < 1 << bits; i++)
            {
                ulong cluster = (index << bits) + (ulong)i;
                ulong count = cluster >= end ? (cluster < firstBlock + blocks ? 1ul : 0) : cluster < (ulong)uses.Length ? uses[cluster] : 0;
                if (count > 0)
                    _ = Refcounts.Set(block, header.RefcountOrder, i, count);
            }

            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan((int)index * 8), (firstBlock + index) << header.ClusterBits);
            file.Write((firstBlock + index) << header.ClusterBits, block);
        }

        file.Write(end << header.ClusterBits, table);
        file.Sync();
        header.RefcountTableOffset = end << header.ClusterBits;
        header.RefcountTableClusters = (uint)tableClusters;
        file.Write(48, header.RefcountFields());
        file.Sync();
    }

    private static void MendCopied(ImageFile file, Qcow2Header header, uint[] uses)
    {
        byte[] l1 = file.Read(header.L1Offset, (int)header.L1Entries * 8);
        for (int i = 0; i < header.L1Entries; i++)
        {
            ulong entry = BinaryPrimitives.ReadUInt64BigEndian(l1.AsSpan(i * 8));
            ulong place = entry & Qcow2Features.OffsetMask;
            if (place == 0)
                continue;
            Mend(file, header.L1Offset + ((ulong)i * 8), entry, uses[place >> header.ClusterBits]);
            byte[] l2 = file.Read(place, header.ClusterSize);
            for (int j = 0; j < header.L2Entries; j++)
            {
                ulong data = BinaryPrimitives.ReadUInt64BigEndian(l2.AsSpan(j * 8));
                if ((data & Qcow2Features.OffsetMask) != 0 && (data & Qcow2Features.Compressed) == 0)
                    Mend(file, place + ((ulong)j * 8), data, uses[(data & Qcow2Features.OffsetMask) >> header.ClusterBits]);
            }
        }
    }

    private static void Mend(ImageFile file, ulong place, ulong entry, uint count)
    {
        ulong right = count == 1 ? entry | Qcow2Features.Copied : entry & ~Qcow2Features.Copied;
        if (right == entry)
            return;
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, right);
        file.Write(place, bytes);
    }
}
