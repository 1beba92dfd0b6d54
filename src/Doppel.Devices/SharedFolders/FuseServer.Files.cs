using Doppel.Devices.Virtio;
using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <content>Open files.</content>
public sealed partial class FuseServer
{
    private const int ExclusiveFlag = 0x80;

    private int Open(in FuseRequest request, FuseReply reply)
    {
        int flags = (int)request.UInt32(0);
        int error = FindNode(request.Node, out FolderNode node);
        if (error == 0 && FolderFile.WantsToWrite(flags))
            error = DropPrivileges(node);
        if (error != 0 || (error = node.OpenFile(flags, out FolderFile? file)) != 0)
            return error;
        return AnswerOpen(request.Node, flags, file!, reply);
    }

    private int Create(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(16);
        int flags = (int)request.UInt32(0);
        uint mode = request.UInt32(4);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0)
            return error;
        error = directory.CreateFile(name, flags, mode, out FolderNode? node, out FolderFile? file);
        if (error == FolderError.Exists && (flags & ExclusiveFlag) == 0)
        {
            error = directory.Find(name, out node);
            if (error == 0 && ((error = DropPrivileges(node!)) != 0 || (error = node!.OpenFile(flags, out file)) != 0))
                node!.Dispose();
        }
        else if (error == 0)
        {
            Widen(node!, mode);
        }

        if (error != 0)
            return error;
        error = AnswerEntry(node!, reply);
        if (error != 0)
        {
            file!.Dispose();
            return error;
        }

        return AnswerOpen(System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(reply.Fields), flags, file!, reply);
    }

    private int AnswerOpen(ulong node, int flags, FolderFile file, FuseReply reply)
    {
        if (_nodes.Open(new SharedHandle(node, FolderFile.ForReopening(flags), file, null, isDirectory: false)) is not ulong handle)
            return FolderError.TooMany;
        _ = reply.UInt64(handle).UInt32(0).UInt32(0);
        return 0;
    }

    /// <summary>What a guest may write to must not be run with other rights than those of whoever runs it.</summary>
    private static int DropPrivileges(FolderNode node)
    {
        const uint SetUser = 0x800, SetGroup = 0x400;
        int error = node.GetStatus(out FileStatus status);
        return error == 0 && status.IsFile && (status.Mode & (SetUser | SetGroup)) != 0 ? node.SetMode(status.Mode) : error;
    }

    /// <summary>Gives what was made the permissions that the guest's own mask left: this process's mask is none of the guest's business.</summary>
    private static void Widen(FolderNode node, uint mode)
    {
        const uint Permissions = 0x1FF;
        if (node.GetStatus(out FileStatus status) == 0 && !status.IsLink && (mode & Permissions & ~status.Mode) != 0)
            _ = node.SetMode((status.Mode & 0xFFF) | (mode & Permissions));
    }

    private int Read(in FuseRequest request, FuseReply reply)
    {
        int error = FindFile(request.UInt64(0), out FolderFile? file);
        if (error != 0)
            return error;
        error = file!.Read(request.UInt64(8), reply.Views(Math.Min(request.UInt32(16), reply.Room)), out long count);
        reply.NoteData(count);
        return error;
    }

    private int Write(in FuseRequest request, VirtioChain chain, FuseReply reply)
    {
        uint size = request.UInt32(16);
        int error = FindFile(request.UInt64(0), out FolderFile? file);
        if (error != 0)
            return error;
        if (chain.ReadableLength < WriteHeaderLength || size > chain.ReadableLength - WriteHeaderLength)
            return FolderError.Invalid;
        List<Memory<byte>> data = chain.GetReadableViews(WriteHeaderLength, size).ConvertAll(System.Runtime.InteropServices.MemoryMarshal.AsMemory);
        error = file!.Write(request.UInt64(8), data, out long count);
        if (error == 0)
            _ = reply.UInt32((uint)count).UInt32(0);
        return error;
    }

    private int Allocate(in FuseRequest request)
    {
        int error = FindFile(request.UInt64(0), out FolderFile? file);
        return error != 0 ? error : file!.Allocate((int)request.UInt32(24), request.UInt64(8), request.UInt64(16));
    }

    private int Seek(in FuseRequest request, FuseReply reply)
    {
        int error = FindFile(request.UInt64(0), out FolderFile? file);
        if (error != 0 || (error = file!.Find(request.UInt64(8), request.UInt32(16), out ulong found)) != 0)
            return error;
        _ = reply.UInt64(found);
        return 0;
    }

    private int CopyRange(in FuseRequest request, FuseReply reply)
    {
        int error = FindFile(request.UInt64(0), out FolderFile? from);
        if (error == 0)
            error = FindFile(request.UInt64(24), out FolderFile? to) is not 0 and int failed ? failed : Copy(request, from!, to!, reply);
        return error;

        static int Copy(in FuseRequest request, FolderFile from, FolderFile to, FuseReply reply)
        {
            int error = from.CopyTo(request.UInt64(8), to, request.UInt64(32), request.UInt64(40), out ulong count);
            if (error == 0)
                _ = reply.UInt32((uint)count).UInt32(0);
            return error;
        }
    }
}
