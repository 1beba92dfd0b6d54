using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Qcow2;

/// <summary>
/// Tables of a file in memory, a bounded number of them, the least recently used leaving first. Dirty ones stay: they may
/// be written only by a commit, in its order, so whoever dirties them commits when <see cref="IsPressed"/>.
/// </summary>
internal sealed class TableCache(ImageFile file, int tableSize, int capacity)
{
    private readonly Dictionary<ulong, CachedTable> _tables = [];
    private readonly LinkedList<CachedTable> _recent = new();
    private readonly HashSet<CachedTable> _dirty = [];

    /// <summary>True when so many tables are dirty that a commit is due.</summary>
    internal bool IsPressed => _dirty.Count > capacity / 2;

    internal bool IsDirty => _dirty.Count > 0;

    /// <summary>The table at an offset, read if need be.</summary>
    internal CachedTable Get(ulong offset)
    {
        if (_tables.TryGetValue(offset, out CachedTable? table))
        {
            if (_recent.First != table.Node)
            {
                _recent.Remove(table.Node!);
                _recent.AddFirst(table.Node!);
            }

            return table;
        }

        table = new CachedTable(offset, file.Read(offset, tableSize));
        Insert(table);
        return table;
    }

    /// <summary>The table at an offset if it is in memory.</summary>
    internal CachedTable? Find(ulong offset) => _tables.GetValueOrDefault(offset);

    /// <summary>A table that the file doesn't have yet.</summary>
    internal CachedTable Add(ulong offset, byte[] data)
    {
        Remove(offset);
        var table = new CachedTable(offset, data) { IsNew = true };
        table.MarkAllDirty();
        Insert(table);
        _ = _dirty.Add(table);
        return table;
    }

    /// <summary>Forgets a table that nothing refers to any more.</summary>
    internal void Remove(ulong offset)
    {
        if (!_tables.Remove(offset, out CachedTable? table))
            return;
        _recent.Remove(table.Node!);
        _ = _dirty.Remove(table);
    }

    /// <summary>Must follow each change of a table.</summary>
    internal void NoteDirty(CachedTable table) => _ = _dirty.Add(table);

    /// <summary>Copies out everything that is dirty, and makes it clean.</summary>
    internal void TakeDirty(List<MetadataPiece> newTables, List<MetadataPiece> others)
    {
        foreach (CachedTable table in _dirty)
            table.TakeDirty(table.IsNew ? newTables : others);
        _dirty.Clear();
    }

    /// <summary>Ends the writing of pieces.</summary>
    /// <param name="pieces">The pieces.</param>
    /// <param name="isWritten">False when they failed; what they cover is dirty again.</param>
    internal void Return(List<MetadataPiece> pieces, bool isWritten)
    {
        foreach (MetadataPiece piece in pieces)
        {
            CachedTable table = piece.Table!;
            table.Writers--;
            if (isWritten)
            {
                table.IsNew = false;
            }
            else if (_tables.GetValueOrDefault(table.Offset) == table)
            {
                table.MarkDirty((int)(piece.Offset - table.Offset));
                NoteDirty(table);
            }
        }
    }

    private void Insert(CachedTable table)
    {
        if (_tables.Count >= capacity)
            Evict();
        _tables.Add(table.Offset, table);
        table.Node = _recent.AddFirst(table);
    }

    private void Evict()
    {
        int tries = 64;
        for (LinkedListNode<CachedTable>? node = _recent.Last; node is not null && _tables.Count >= capacity && tries-- > 0;)
        {
            LinkedListNode<CachedTable>? before = node.Previous;
            if (node.Value.Writers == 0 && !_dirty.Contains(node.Value))
            {
                _recent.Remove(node);
                _ = _tables.Remove(node.Value.Offset);
            }

            node = before;
        }
    }
}
