namespace Doppel.Devices.Storage.Qcow2;

/// <summary>The last few compressed clusters that were read: a guest reads a cluster in many small pieces.</summary>
internal sealed class DecompressedClusters
{
    private const int Capacity = 16;
    private readonly Lock _lock = new();
    private readonly (ulong Entry, byte[] Data)[] _clusters = new (ulong, byte[])[Capacity];
    private int _next;

    /// <summary>The bytes of the cluster that an L2 entry describes; null when they aren't known.</summary>
    internal byte[]? Find(ulong entry)
    {
        lock (_lock)
        {
            foreach ((ulong known, byte[] data) in _clusters)
            {
                if (known == entry)
                    return data;
            }

            return null;
        }
    }

    internal void Add(ulong entry, byte[] data)
    {
        lock (_lock)
        {
            _clusters[_next] = (entry, data);
            _next = (_next + 1) % Capacity;
        }
    }

    /// <summary>Must precede any other use of a cluster's place.</summary>
    internal void Clear()
    {
        lock (_lock)
            Array.Clear(_clusters);
    }
}
