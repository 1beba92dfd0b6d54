namespace Doppel.Devices.Storage.Qcow2;

public sealed partial class Qcow2Image
{
    private ulong _compressedEnd;

    /// <summary>Finds room for compressed bytes: after the last ones if the rest of their cluster, or the cluster behind it, allows.</summary>
    private ulong ReserveBytes(int length)
    {
        Refcounts refcounts = _metadata.Refcounts;
        ulong mask = (ulong)ClusterSize - 1;
        int room = (int)((ulong)ClusterSize - (_compressedEnd & mask)) & (int)mask;
        if (room > 0 && refcounts.Get(_compressedEnd >> _header.ClusterBits) >= refcounts.Maximum)
            room = 0;
        ulong place;
        if (room >= length)
        {
            place = _compressedEnd;
        }
        else
        {
            ulong next = refcounts.Reserve(1, out _, out _);
            bool follows = room > 0 && next << _header.ClusterBits == (_compressedEnd | mask) + 1;
            place = follows ? _compressedEnd : next << _header.ClusterBits;
        }

        _compressedEnd = place + (ulong)length;
        return place;
    }

    /// <summary>Counts one more use of each cluster that compressed bytes touch.</summary>
    private void CountBytes(ulong place, int length)
    {
        for (ulong cluster = place >> _header.ClusterBits; cluster <= (place + (ulong)length - 1) >> _header.ClusterBits; cluster++)
        {
            if (_metadata.Refcounts.Get(cluster) == 0)
                _metadata.Refcounts.Use(cluster);
            else
                _ = _metadata.Refcounts.Add(cluster, 1);
        }
    }
}
