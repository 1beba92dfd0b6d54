using System.Buffers.Binary;
using System.Numerics;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>An L2 table or refcount block in memory: a cluster of the file, and which parts of it the file doesn't have yet.</summary>
internal sealed class CachedTable
{
    /// <summary>Bytes that are written together. A kill tears no write inside a page.</summary>
    internal const int Granule = 4096;

    private readonly ulong[] _dirty;

    internal CachedTable(ulong offset, byte[] data)
    {
        Offset = offset;
        Data = data;
        _dirty = new ulong[Math.Max(1, (data.Length / Granule) + 63 >> 6)];
    }

    /// <summary>Where it lies in the file.</summary>
    internal ulong Offset { get; }

    internal byte[] Data { get; }

    /// <summary>True until the file has been given all of it; nothing in the file refers to it before.</summary>
    internal bool IsNew { get; set; }

    /// <summary>How many commits are writing parts of it; it must stay in memory, for the file has older bytes.</summary>
    internal int Writers { get; set; }

    internal LinkedListNode<CachedTable>? Node { get; set; }

    internal bool IsDirty
    {
        get
        {
            foreach (ulong word in _dirty)
            {
                if (word != 0)
                    return true;
            }

            return false;
        }
    }

    internal ulong GetEntry(int index) => BinaryPrimitives.ReadUInt64BigEndian(Data.AsSpan(index * 8));

    internal void SetEntry(int index, ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(Data.AsSpan(index * 8), value);
        MarkDirty(index * 8);
    }

    internal void MarkDirty(int position) => _dirty[position / Granule >> 6] |= 1UL << (position / Granule & 63);

    internal void MarkAllDirty()
    {
        for (int at = 0; at < Data.Length; at += Granule)
            MarkDirty(at);
    }

    /// <summary>Copies the dirty parts out; they count as clean from here on.</summary>
    internal void TakeDirty(List<MetadataPiece> pieces)
    {
        for (int word = 0; word < _dirty.Length; word++)
        {
            for (ulong bits = _dirty[word]; bits != 0; bits &= bits - 1)
            {
                int position = ((word << 6) + BitOperations.TrailingZeroCount(bits)) * Granule;
                int length = Math.Min(Granule, Data.Length - position);
                pieces.Add(new MetadataPiece(this, Offset + (ulong)position, Data.AsSpan(position, length).ToArray()));
                Writers++;
            }

            _dirty[word] = 0;
        }
    }
}
