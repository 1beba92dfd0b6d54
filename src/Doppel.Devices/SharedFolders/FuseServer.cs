using System.Buffers;
using System.Buffers.Binary;
using Doppel.Devices.Virtio;
using Doppel.Host.Folders;
using Doppel.Machine.State;

namespace Doppel.Devices.SharedFolders;

/// <summary>
/// Serves a folder of the host by the FUSE protocol, version 7.31 (linux/fuse.h), as a virtio file system device speaks it.
/// Everything is done with the rights of the user that runs this process, whoever asks in the guest; what is made belongs to
/// that user. Nothing outside the folder can be reached (<see cref="FolderNode"/>). Requests may be handled by several
/// threads at once.
/// </summary>
public sealed partial class FuseServer : IFuseServer
{
    private const int MostArguments = FolderNode.LongestAttribute + 4096;
    private const uint MaximumWrite = 1 << 20;
    private const int WriteHeaderLength = FuseRequest.HeaderLength + 40;
    private readonly SharedNodes _nodes;
    private readonly bool _isReadOnly;

    /// <summary>Opens a folder.</summary>
    /// <param name="path">Its path; links in it are followed, once.</param>
    /// <param name="isReadOnly">True when the guest can change nothing.</param>
    /// <exception cref="Doppel.Host.HostException">The host refuses.</exception>
    public FuseServer(string path, bool isReadOnly)
    {
        _isReadOnly = isReadOnly;
        // What else this process opens must not fail because a guest has looked at many files.
        _nodes = new SharedNodes(FolderNode.OpenRoot(path), (int)Math.Min(FolderNode.DescriptorLimit / 4 * 3, int.MaxValue));
    }

    /// <inheritdoc/>
    public uint Handle(VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        if (chain.ReadableLength < FuseRequest.HeaderLength)
            return 0;
        int length = (int)Math.Min(chain.ReadableLength, MostArguments);
        byte[] bytes = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            // Of a write, only what comes before the data.
            _ = chain.Read(0, bytes.AsSpan(0, FuseRequest.HeaderLength));
            if ((FuseOpcode)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4)) == FuseOpcode.Write)
                length = Math.Min(length, WriteHeaderLength);
            _ = chain.Read(FuseRequest.HeaderLength, bytes.AsSpan(FuseRequest.HeaderLength, length - FuseRequest.HeaderLength));
            var request = new FuseRequest(bytes.AsSpan(0, length));
            if (request.Opcode is FuseOpcode.Forget or FuseOpcode.BatchForget)
            {
                Forget(request);
                return 0;
            }

            var reply = new FuseReply(chain);
            int error;
            try
            {
                error = _isReadOnly && Changes(request) ? FolderError.ReadOnly : Execute(request, chain, reply);
            }
            catch (ObjectDisposedException)
            {
                // The guest has closed or forgotten it meanwhile.
                error = FolderError.Stale;
            }

            return reply.Finish(request.Unique, error);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    /// <inheritdoc/>
    public void Reset() => _nodes.Forget();

    /// <inheritdoc/>
    public void Save(StateWriter writer) => _nodes.Save(writer);

    /// <inheritdoc/>
    /// <remarks>Files are found again by their paths; what isn't there any more is stale to the guest.</remarks>
    public Action Read(StateReader reader, string section) => _nodes.Read(reader, section);

    /// <inheritdoc/>
    public void Dispose() => _nodes.Dispose();

    private static bool Changes(in FuseRequest request) => request.Opcode switch
    {
        FuseOpcode.SetAttributes or FuseOpcode.SymbolicLink or FuseOpcode.MakeNode or FuseOpcode.MakeDirectory or FuseOpcode.Unlink
            or FuseOpcode.RemoveDirectory or FuseOpcode.Rename or FuseOpcode.Rename2 or FuseOpcode.Link or FuseOpcode.Create
            or FuseOpcode.Write or FuseOpcode.Allocate or FuseOpcode.CopyFileRange or FuseOpcode.SetAttribute or FuseOpcode.RemoveAttribute => true,
        FuseOpcode.Open => FolderFile.WantsToWrite((int)request.UInt32(0)),
        _ => false,
    };

    private int Execute(in FuseRequest request, VirtioChain chain, FuseReply reply) => request.Opcode switch
    {
        FuseOpcode.Initialize => Initialize(request, reply),
        FuseOpcode.Destroy => Destroy(),
        FuseOpcode.Lookup => Lookup(request, reply),
        FuseOpcode.GetAttributes => GetAttributes(request, reply),
        FuseOpcode.SetAttributes => SetAttributes(request, reply),
        FuseOpcode.ReadLink => ReadLink(request, reply),
        FuseOpcode.SymbolicLink => MakeSymbolicLink(request, reply),
        FuseOpcode.MakeNode => MakeNode(request, reply),
        FuseOpcode.MakeDirectory => MakeDirectory(request, reply),
        FuseOpcode.Unlink => Remove(request, isDirectory: false),
        FuseOpcode.RemoveDirectory => Remove(request, isDirectory: true),
        FuseOpcode.Rename => Rename(request, 8, 0),
        FuseOpcode.Rename2 => Rename(request, 16, request.UInt32(8)),
        FuseOpcode.Link => Link(request, reply),
        FuseOpcode.Create => Create(request, reply),
        FuseOpcode.Open => Open(request, reply),
        FuseOpcode.Read => Read(request, reply),
        FuseOpcode.Write => Write(request, chain, reply),
        FuseOpcode.Flush => FindFile(request.UInt64(0), out _),
        FuseOpcode.Sync => FindFile(request.UInt64(0), out FolderFile? file) is not 0 and int error ? error : file!.Sync((request.UInt32(8) & 1) != 0),
        FuseOpcode.Allocate => Allocate(request),
        FuseOpcode.Seek => Seek(request, reply),
        FuseOpcode.CopyFileRange => CopyRange(request, reply),
        FuseOpcode.Release or FuseOpcode.ReleaseDirectory => Release(request),
        FuseOpcode.OpenDirectory => OpenDirectory(request, reply),
        FuseOpcode.ReadDirectory => ReadDirectory(request, reply, isPlus: false),
        FuseOpcode.ReadDirectoryPlus => ReadDirectory(request, reply, isPlus: true),
        FuseOpcode.SyncDirectory => SyncDirectory(request),
        FuseOpcode.GetFileSystem => GetFileSystem(request, reply),
        FuseOpcode.SetAttribute => SetAttribute(request),
        FuseOpcode.GetAttribute => GetAttribute(request, reply),
        FuseOpcode.ListAttributes => ListAttributes(request, reply),
        FuseOpcode.RemoveAttribute => RemoveAttribute(request),
        FuseOpcode.SyncFileSystem => FindNode(request.Node, out FolderNode root) is not 0 and int unknown ? unknown : root.SyncFileSystem(),
        // Locks between guests, ioctl: the kernel doesn't ask again, and keeps locks to itself.
        _ => FolderError.NotImplemented,
    };

    private static int Initialize(in FuseRequest request, FuseReply reply)
    {
        const uint Major = 7, Minor = 31, OldestMinor = 27;
        const uint AsyncRead = 1 << 0, AtomicTruncate = 1 << 3, BigWrites = 1 << 5, InvalidateData = 1 << 12, ReadDirectoryPlus = 1 << 13,
            AdaptivePlus = 1 << 14, AsyncDirect = 1 << 15, ParallelDirectories = 1 << 18, MaximumPages = 1 << 22,
            // Set-user-ID never survives a guest's writing here; knowing that, the guest need not ask for attributes at each write.
            DropsPrivileges = 1 << 28;
        const uint Wanted = AsyncRead | AtomicTruncate | BigWrites | InvalidateData | ReadDirectoryPlus | AdaptivePlus | AsyncDirect | ParallelDirectories | MaximumPages | DropsPrivileges;
        uint major = request.UInt32(0);
        if (major < Major || (major == Major && request.UInt32(4) < OldestMinor))
            return FolderError.Protocol;
        // A newer driver asks again, with our version, when it reads this one.
        _ = reply.UInt32(Major).UInt32(Minor).UInt32(request.UInt32(8)).UInt32(request.UInt32(12) & Wanted)
            .UInt16(64).UInt16(48).UInt32(MaximumWrite).UInt32(1).UInt16((ushort)(MaximumWrite / 4096)).Zeros(34);
        return 0;
    }

    private int Destroy()
    {
        _nodes.Forget();
        return 0;
    }

    private void Forget(in FuseRequest request)
    {
        if (request.Opcode == FuseOpcode.Forget)
        {
            _nodes.Forget(request.Node, request.UInt64(0));
            return;
        }

        uint count = Math.Min(request.UInt32(0), MostArguments / 16);
        for (int i = 0; i < count; i++)
            _nodes.Forget(request.UInt64(8 + (16 * i)), request.UInt64(16 + (16 * i)));
    }

    private int FindNode(ulong id, out FolderNode node)
    {
        SharedNode? found = _nodes.Find(id);
        node = found?.Handle!;
        return found is null ? FolderError.Missing : found.Handle is null ? FolderError.Stale : 0;
    }

    private int FindFile(ulong id, out FolderFile? file)
    {
        SharedHandle? handle = _nodes.FindHandle(id);
        file = handle?.File;
        return handle is null || handle.IsDirectory ? FolderError.BadHandle : file is null ? FolderError.Stale : 0;
    }

    /// <summary>Answers with an entry of a directory.</summary>
    private int AnswerEntry(FolderNode directory, ReadOnlySpan<byte> name, FuseReply reply)
    {
        int error = directory.Find(name, out FolderNode? found);
        return error != 0 ? error : AnswerEntry(found!, reply);
    }

    /// <summary>Answers with a file, which belongs to the table from now on.</summary>
    private int AnswerEntry(FolderNode found, FuseReply reply)
    {
        int error = found.GetStatus(out FileStatus status);
        if (error != 0)
        {
            found.Dispose();
            return error;
        }

        // An answer that the guest has no room for would tell it nothing that it could forget.
        if (reply.Room < FuseReply.EntryLength)
        {
            found.Dispose();
            return FolderError.Range;
        }

        if (_nodes.Add(found, status) is not SharedNode node)
            return FolderError.TooMany;
        _ = reply.Entry(node.Id, status, _nodes.InodeOf(status));
        return 0;
    }

    private int Release(in FuseRequest request)
    {
        _nodes.Close(request.UInt64(0));
        return 0;
    }

    private int GetFileSystem(in FuseRequest request, FuseReply reply)
    {
        int error = FindNode(request.Node, out FolderNode node);
        if (error == 0)
            error = node.GetFileSystem(out FileSystemStatus status) is not 0 and int failed ? failed : Answer(reply, status);
        return error;

        static int Answer(FuseReply reply, in FileSystemStatus s)
        {
            _ = reply.UInt64(s.Blocks).UInt64(s.Free).UInt64(s.Available).UInt64(s.Files).UInt64(s.FreeFiles)
                .UInt32(s.BlockSize).UInt32(s.NameLength).UInt32(s.BlockSize).Zeros(28);
            return 0;
        }
    }
}
