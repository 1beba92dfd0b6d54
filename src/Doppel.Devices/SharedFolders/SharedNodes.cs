using Doppel.Host.Folders;
using Doppel.Machine.State;

namespace Doppel.Devices.SharedFolders;

/// <summary>
/// The files of a shared folder that a guest knows or has open, by number. Each costs a descriptor of this process, so
/// there is a limit, beyond which the guest is told that there are too many. Any thread.
/// </summary>
internal sealed class SharedNodes : IDisposable
{
    /// <summary>Number of the folder itself, which is never forgotten (FUSE_ROOT_ID).</summary>
    internal const ulong RootId = 1;

    private const int LongestPath = 4096;
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, SharedNode> _nodes = [];
    private readonly Dictionary<(ulong Device, ulong Inode), SharedNode> _byInode = [];
    private readonly Dictionary<ulong, SharedHandle> _handles = [];
    private readonly List<ulong> _devices = [];
    private readonly SharedNode _root;
    private readonly int _limit;
    private ulong _lastNode = RootId;
    private ulong _lastHandle;

    /// <param name="root">The folder; it is disposed with the table.</param>
    /// <param name="limit">Most nodes and open files together.</param>
    internal SharedNodes(FolderNode root, int limit)
    {
        _limit = limit;
        int error = root.GetStatus(out FileStatus status);
        if (error != 0)
            throw new IOException($"the shared folder can't be looked at: error {error}");
        _root = new SharedNode(RootId, root, status.Device, status.Inode);
        Forget();
    }

    private FolderNode Root => _root.Handle!;

    /// <summary>A node by its number; null when there is none.</summary>
    internal SharedNode? Find(ulong id)
    {
        lock (_lock)
            return _nodes.GetValueOrDefault(id);
    }

    /// <summary>Makes a file known, or known once more.</summary>
    /// <param name="handle">The file; it belongs to the table from now on.</param>
    /// <param name="status">What it is.</param>
    /// <returns>Null when there are too many.</returns>
    internal SharedNode? Add(FolderNode handle, in FileStatus status)
    {
        lock (_lock)
        {
            if (_byInode.TryGetValue((status.Device, status.Inode), out SharedNode? known))
            {
                known.Lookups++;
                handle.Dispose();
                return known;
            }

            if (_nodes.Count + _handles.Count >= _limit)
            {
                handle.Dispose();
                return null;
            }

            var node = new SharedNode(++_lastNode, handle, status.Device, status.Inode);
            _nodes.Add(node.Id, node);
            _byInode.Add((node.Device, node.Inode), node);
            return node;
        }
    }

    /// <summary>The guest forgets a node so many times.</summary>
    internal void Forget(ulong id, ulong lookups)
    {
        lock (_lock)
        {
            if (id == RootId || !_nodes.TryGetValue(id, out SharedNode? node))
                return;
            node.Lookups -= Math.Min(lookups, node.Lookups);
            if (node.Lookups != 0)
                return;
            _ = _nodes.Remove(id);
            if (_byInode.GetValueOrDefault((node.Device, node.Inode)) == node)
                _ = _byInode.Remove((node.Device, node.Inode));
            node.Handle?.Dispose();
        }
    }

    /// <summary>The number by which programs of the guest know a file. File systems below the folder have their own numbers, so theirs differ in the upper bits.</summary>
    internal ulong InodeOf(in FileStatus status) => InodeOf(status.Device, status.Inode);

    internal ulong InodeOf(ulong device, ulong inode)
    {
        if (device == _root.Device)
            return inode;
        lock (_lock)
        {
            int index = _devices.IndexOf(device);
            if (index < 0)
            {
                index = _devices.Count;
                _devices.Add(device);
            }

            return inode ^ ((ulong)(index + 1) << 48);
        }
    }

    /// <summary>Keeps an open file.</summary>
    /// <returns>Its number; null when there are too many, and the file is closed then.</returns>
    internal ulong? Open(SharedHandle handle)
    {
        lock (_lock)
        {
            if (_nodes.Count + _handles.Count >= _limit)
            {
                handle.Dispose();
                return null;
            }

            _handles.Add(++_lastHandle, handle);
            return _lastHandle;
        }
    }

    /// <summary>An open file by its number; null when there is none.</summary>
    internal SharedHandle? FindHandle(ulong id)
    {
        lock (_lock)
            return _handles.GetValueOrDefault(id);
    }

    /// <summary>Closes an open file.</summary>
    internal void Close(ulong id)
    {
        lock (_lock)
        {
            if (_handles.Remove(id, out SharedHandle? handle))
                handle.Dispose();
        }
    }

    /// <summary>Forgets and closes everything but the folder itself.</summary>
    internal void Forget()
    {
        lock (_lock)
        {
            foreach (SharedHandle handle in _handles.Values)
                handle.Dispose();
            foreach (SharedNode node in _nodes.Values.Where(n => n != _root))
                node.Handle?.Dispose();
            _handles.Clear();
            _nodes.Clear();
            _byInode.Clear();
            _devices.Clear();
            _nodes.Add(RootId, _root);
            _byInode.Add((_root.Device, _root.Inode), _root);
            _root.Lookups = 1;
            _lastNode = RootId;
            _lastHandle = 0;
        }
    }

    /// <summary>Writes what the guest knows: numbers, and the paths at which the files lie now.</summary>
    internal void Save(StateWriter writer)
    {
        lock (_lock)
        {
            byte[] root = Root.GetPath() ?? [];
            writer.Write(_lastNode);
            writer.Write(_lastHandle);
            writer.Write(_nodes.Count - 1);
            foreach (SharedNode node in _nodes.Values.Where(n => n != _root).OrderBy(n => n.Id))
            {
                writer.Write(node.Id);
                writer.Write(node.Lookups);
                writer.Write(Relative(root, node.Handle?.GetPath()));
            }

            writer.Write(_handles.Count);
            foreach ((ulong id, SharedHandle handle) in _handles.OrderBy(h => h.Key))
            {
                writer.Write(id);
                writer.Write(handle.Node);
                writer.Write(handle.Flags);
                writer.Write(handle.IsDirectory);
            }
        }
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over: looks for each file at its path. One that isn't there any more stays known, and every request for it fails.</returns>
    internal Action Read(StateReader reader, string section)
    {
        ulong lastNode = reader.ReadUInt64(), lastHandle = reader.ReadUInt64();
        var nodes = new List<(ulong Id, ulong Lookups, byte[] Path)>();
        for (int count = (int)StateCheck.Range(section, "number of files", reader.ReadInt32(), 0, int.MaxValue); count > 0; count--)
            nodes.Add((reader.ReadUInt64(), reader.ReadUInt64(), reader.ReadBytes(LongestPath)));
        var handles = new List<(ulong Id, ulong Node, int Flags, bool IsDirectory)>();
        for (int count = (int)StateCheck.Range(section, "number of open files", reader.ReadInt32(), 0, int.MaxValue); count > 0; count--)
            handles.Add((reader.ReadUInt64(), reader.ReadUInt64(), reader.ReadInt32(), reader.ReadBool()));
        if (nodes.Any(n => n.Id <= RootId || n.Id > lastNode) || nodes.DistinctBy(n => n.Id).Count() != nodes.Count
            || handles.Any(h => h.Id > lastHandle) || handles.DistinctBy(h => h.Id).Count() != handles.Count)
        {
            throw new InvalidDataException($"section {section}: its files have numbers that can't be");
        }

        return () =>
        {
            lock (_lock)
            {
                Forget();
                _lastNode = lastNode;
                _lastHandle = lastHandle;
                foreach ((ulong id, ulong lookups, byte[] path) in nodes)
                    Adopt(id, lookups, path);
                foreach ((ulong id, ulong node, int flags, bool isDirectory) in handles)
                    _handles.Add(id, Reopen(node, flags, isDirectory));
            }
        };
    }

    public void Dispose()
    {
        Forget();
        Root.Dispose();
    }

    private static byte[] Relative(byte[] root, byte[]? path)
    {
        if (root.Length == 0 || path is null || !path.AsSpan().StartsWith(root))
            return [];
        // The root of the host's file system ends with a slash by itself.
        byte[] rest = root is [(byte)'/'] ? path[1..] : path[root.Length..];
        return rest is [(byte)'/', ..] ? rest[1..] : root is [(byte)'/'] ? rest : [];
    }

    private void Adopt(ulong id, ulong lookups, byte[] path)
    {
        FolderNode? found = Walk(path);
        FileStatus status = default;
        if (found is not null && (found.GetStatus(out status) != 0 || _byInode.ContainsKey((status.Device, status.Inode))))
        {
            found.Dispose();
            found = null;
        }

        var node = new SharedNode(id, found, status.Device, status.Inode) { Lookups = lookups };
        _nodes.Add(id, node);
        if (found is not null)
            _byInode.Add((node.Device, node.Inode), node);
    }

    private FolderNode? Walk(byte[] path)
    {
        if (path.Length == 0)
            return null;
        FolderNode at = Root;
        foreach (Range part in path.AsSpan().Split((byte)'/'))
        {
            int error = at.Find(path.AsSpan()[part], out FolderNode? next);
            if (at != Root)
                at.Dispose();
            if (error != 0)
                return null;
            at = next!;
        }

        return at;
    }

    private SharedHandle Reopen(ulong node, int flags, bool isDirectory)
    {
        FolderFile? file = null;
        FolderReader? directory = null;
        if (_nodes.GetValueOrDefault(node)?.Handle is FolderNode handle)
        {
            if (isDirectory)
                _ = handle.OpenDirectory(out directory);
            else
                _ = handle.OpenFile(flags, out file);
        }

        return new SharedHandle(node, flags, file, directory, isDirectory);
    }
}
