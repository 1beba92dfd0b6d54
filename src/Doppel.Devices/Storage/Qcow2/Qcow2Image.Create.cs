using System.Buffers.Binary;
using System.Numerics;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

public sealed partial class Qcow2Image
{
    /// <summary>Creates an image.</summary>
    /// <param name="path">Where; there must be no file.</param>
    /// <param name="options">What it is like.</param>
    /// <exception cref="DiskImageException">An option is wrong, or the host refuses.</exception>
    public static void Create(string path, Qcow2Options options)
    {
        Qcow2Header header = Layout(path, options);
        using ImageFile file = ImageFile.Create(path);
        try
        {
            WriteEmpty(file, header);
            file.Sync();
        }
        catch
        {
            System.IO.File.Delete(path);
            throw;
        }
    }

    /// <summary>Creates an image without a name, over a backing image; it ends when it is closed, however that happens.</summary>
    /// <param name="directory">Where its space is taken from.</param>
    /// <param name="backing">The backing image; disposed with this one.</param>
    public static Qcow2Image CreateEphemeral(string directory, DiskImage backing)
    {
        ArgumentNullException.ThrowIfNull(backing);
        // The name is never opened; it says that clusters without a place aren't zeros.
        Qcow2Header header = Layout(directory, new Qcow2Options { Length = backing.Length, BackingName = "-" });
        ImageFile file = ImageFile.CreateNameless(directory);
        try
        {
            WriteEmpty(file, header);
            return new Qcow2Image(file, new Qcow2Metadata(file, header), backing);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static Qcow2Header Layout(string path, Qcow2Options options)
    {
        ArgumentNullException.ThrowIfNull(options);
        int clusterBits = BitOperations.Log2((uint)options.ClusterSize);
        if (options.ClusterSize != 1 << clusterBits || clusterBits is < Qcow2Features.MinimumClusterBits or > Qcow2Features.MaximumClusterBits)
            throw new DiskImageException($"{path}: clusters of {options.ClusterSize} bytes; a power of two from 512 to 2097152 would be right");
        if (options.Version is not (2 or 3))
            throw new DiskImageException($"{path}: version {options.Version}; 2 or 3 would be right");
        if (options.RefcountBits is < 1 or > 64 || !BitOperations.IsPow2(options.RefcountBits) || (options.Version == 2 && options.RefcountBits != 16))
            throw new DiskImageException($"{path}: counts of {options.RefcountBits} bits; {(options.Version == 2 ? "16, as version 2 has it," : "1, 2, 4, 8, 16, 32 or 64")} would be right");
        if (options.Version == 2 && (options.HasLazyRefcounts || options.Compression != Qcow2Compression.Deflate))
            throw new DiskImageException($"{path}: lazy counts and zstd need version 3");
        var header = new Qcow2Header
        {
            Version = options.Version,
            ClusterBits = clusterBits,
            Size = (options.Length + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1),
            RefcountOrder = BitOperations.Log2((uint)options.RefcountBits),
            Compression = options.Compression,
            Incompatible = options.Compression == Qcow2Compression.Deflate ? 0 : Qcow2Features.CompressionType,
            Compatible = options.HasLazyRefcounts ? Qcow2Features.LazyRefcounts : 0,
            BackingName = options.BackingName,
            BackingFormat = options.BackingFormat,
        };
        if (options.Version == 3 && options.ClusterSize >= 4096)
            header.AddFeatureNames();
        if (header.Size > long.MaxValue / 2 || ((header.Size + header.L2Span - 1) / header.L2Span * 8) > Qcow2Features.MaximumL1Bytes)
            throw new DiskImageException($"{path}: {options.Length} bytes are too many for clusters of {options.ClusterSize} bytes; larger clusters would be right");
        header.L1Entries = Math.Max(1, header.L1EntriesFor(header.Size));
        return header;
    }

    private static void WriteEmpty(ImageFile file, Qcow2Header header)
    {
        ulong clusterSize = (ulong)header.ClusterSize;
        ulong l1Clusters = ((header.L1Entries * 8UL) + clusterSize - 1) / clusterSize;
        int bits = header.ClusterBits + 3 - header.RefcountOrder;
        ulong blocks = 0, wanted = 1, tableClusters = 1;
        while (blocks != wanted)
        {
            blocks = wanted;
            tableClusters = ((blocks * 8) + clusterSize - 1) / clusterSize;
            wanted = (1 + tableClusters + blocks + l1Clusters + (1UL << bits) - 1) >> bits;
        }

        ulong used = 1 + tableClusters + blocks + l1Clusters;
        byte[] table = new byte[tableClusters * clusterSize];
        for (ulong index = 0; index < blocks; index++)
        {
            byte[] block = new byte[clusterSize];
            for (ulong cluster = index << bits; cluster < Math.Min(used, (index + 1) << bits); cluster++)
                _ = Refcounts.Set(block, header.RefcountOrder, (int)(cluster - (index << bits)), 1);
            ulong place = (1 + tableClusters + index) * clusterSize;
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan((int)index * 8), place);
            file.Write(place, block);
        }

        file.Write(clusterSize, table);
        header.RefcountTableOffset = clusterSize;
        header.RefcountTableClusters = (uint)tableClusters;
        header.L1Offset = (1 + tableClusters + blocks) * clusterSize;
        file.SetLength(used * clusterSize);
        file.Write(0, header.Serialize(file.Path));
    }
}
