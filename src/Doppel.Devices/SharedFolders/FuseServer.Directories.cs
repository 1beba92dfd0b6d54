using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <content>Reading of directories.</content>
public sealed partial class FuseServer
{
    private static ReadOnlySpan<byte> Padding => [0, 0, 0, 0, 0, 0, 0];

    private int OpenDirectory(in FuseRequest request, FuseReply reply)
    {
        int error = FindNode(request.Node, out FolderNode node);
        if (error != 0 || (error = node.OpenDirectory(out FolderReader? reader)) != 0)
            return error;
        if (_nodes.Open(new SharedHandle(request.Node, 0, null, reader, isDirectory: true)) is not ulong handle)
            return FolderError.TooMany;
        _ = reply.UInt64(handle).UInt32(0).UInt32(0);
        return 0;
    }

    private int SyncDirectory(in FuseRequest request)
    {
        int error = FindDirectory(request.UInt64(0), out FolderReader? reader);
        return error != 0 ? error : reader!.Sync();
    }

    private int FindDirectory(ulong id, out FolderReader? reader)
    {
        SharedHandle? handle = _nodes.FindHandle(id);
        reader = handle?.Directory;
        return handle is not { IsDirectory: true } ? FolderError.BadHandle : reader is null ? FolderError.Stale : 0;
    }

    private int ReadDirectory(in FuseRequest request, FuseReply reply, bool isPlus)
    {
        int error = FindDirectory(request.UInt64(0), out FolderReader? reader);
        if (error != 0 || (error = FindNode(request.Node, out FolderNode directory)) != 0)
            return error;
        long room = Math.Min(request.UInt32(16), reply.Room), used = 0;
        lock (reader!)
        {
            error = reader.Seek(request.UInt64(8));
            while (error == 0)
            {
                error = reader.Read(out FolderEntry entry);
                if (error != 0 || entry.Name.IsEmpty)
                    break;
                int length = (24 + entry.Name.Length + 7) & ~7;
                if (used + length + (isPlus ? FuseReply.EntryLength : 0) > room)
                    break;
                if (isPlus)
                {
                    AddEntry(directory, entry.Name, reply);
                    reply.Data(used, reply.TakeFields());
                    used += FuseReply.EntryLength;
                }

                // The folder's own parent is none of the guest's business.
                bool isParent = request.Node == SharedNodes.RootId && entry.Name.SequenceEqual(".."u8);
                _ = reply.UInt64(isParent ? 1 : entry.Inode).UInt64(entry.Next).UInt32((uint)entry.Name.Length).UInt32(entry.Type);
                reply.Data(used, reply.TakeFields());
                reply.Data(used + 24, entry.Name);
                reply.Data(used + 24 + entry.Name.Length, Padding[..(length - 24 - entry.Name.Length)]);
                used += length;
            }
        }

        // What was found before an error is told first.
        return used != 0 ? 0 : error;
    }

    /// <summary>Looks an entry up for an answer that has attributes too; one that is gone, or is the directory itself or its parent, has the number zero.</summary>
    private void AddEntry(FolderNode directory, ReadOnlySpan<byte> name, FuseReply reply)
    {
        if (name.SequenceEqual("."u8) || name.SequenceEqual(".."u8) || directory.Find(name, out FolderNode? found) != 0)
        {
            _ = reply.Zeros(FuseReply.EntryLength);
            return;
        }

        if (found!.GetStatus(out FileStatus status) != 0)
        {
            found.Dispose();
            _ = reply.Zeros(FuseReply.EntryLength);
        }
        else if (_nodes.Add(found, status) is SharedNode node)
        {
            _ = reply.Entry(node.Id, status, _nodes.InodeOf(status));
        }
        else
        {
            _ = reply.Zeros(FuseReply.EntryLength);
        }
    }
}
