using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

public sealed partial class Qcow2Image
{
    /// <inheritdoc/>
    public override void Resize(ulong length)
    {
        CheckWritable();
        length = (length + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1);
        if (_header.Version < 3 && _header.SnapshotCount > 0)
            throw new DiskImageException($"{Name}: an image of version 2 with snapshots can't be resized; deleting the snapshots, or converting it to version 3, would be right");
        if (length > long.MaxValue / 2 || (length + _header.L2Span - 1) / _header.L2Span * 8 > Qcow2Features.MaximumL1Bytes)
            throw new DiskImageException($"{Name}: {length} bytes are too many for clusters of {ClusterSize} bytes");
        Watch(() =>
        {
            if (length < _header.Size)
                Shrink(length);
            else if (length > _header.Size)
                Grow(length);
        });
    }

    private void Shrink(ulong length)
    {
        ulong mask = (ulong)ClusterSize - 1;
        ChangeWholeClusters((length + mask) & ~mask, Length - Math.Min(Length, (length + mask) & ~mask), DiscardCluster);
        _metadata.Commit();
        _metadata.SetSize(length);
        Volatile.Write(ref _size, length);
        _metadata.Commit();
    }

    private void Grow(ulong length)
    {
        ulong old = _header.Size;
        uint entries = _header.L1EntriesFor(length);
        if (entries > _header.L1Entries)
        {
            ulong[] table = _metadata.L1;
            Array.Resize(ref table, (int)entries);
            _metadata.ReplaceL1(table, old);
        }

        // The last cluster may have bytes behind the old end, and the backing image may go on there; neither may appear.
        ulong mask = (ulong)ClusterSize - 1;
        ulong hidden = Math.Min(length, Math.Max((old + mask) & ~mask, _backing?.Length ?? 0));
        Volatile.Write(ref _size, length);
        try
        {
            if (hidden > old)
                WriteZeroes(old, hidden - old, mayFree: true);
            _metadata.Commit();
            _metadata.SetSize(length);
        }
        catch
        {
            Volatile.Write(ref _size, old);
            throw;
        }
    }
}
