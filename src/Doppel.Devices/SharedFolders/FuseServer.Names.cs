using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <content>Names and attributes.</content>
public sealed partial class FuseServer
{
    private int Lookup(in FuseRequest request, FuseReply reply)
    {
        int error = FindNode(request.Node, out FolderNode directory);
        return error != 0 ? error : AnswerEntry(directory, request.Name(0), reply);
    }

    private int GetAttributes(in FuseRequest request, FuseReply reply)
    {
        int error = FindNode(request.Node, out FolderNode node);
        return error != 0 ? error : AnswerAttributes(node, reply);
    }

    private int AnswerAttributes(FolderNode node, FuseReply reply)
    {
        int error = node.GetStatus(out FileStatus status);
        if (error == 0)
            _ = reply.ValidAttributes(status, _nodes.InodeOf(status));
        return error;
    }

    private int SetAttributes(in FuseRequest request, FuseReply reply)
    {
        const uint Mode = 1 << 0, User = 1 << 1, Group = 1 << 2, Size = 1 << 3, Accessed = 1 << 4, Modified = 1 << 5, Handle = 1 << 6,
            AccessedNow = 1 << 7, ModifiedNow = 1 << 8;
        uint valid = request.UInt32(0);
        int error = FindNode(request.Node, out FolderNode node);
        if (error == 0 && (valid & Mode) != 0)
            error = node.SetMode(request.UInt32(68));
        if (error == 0 && (valid & (User | Group)) != 0)
            error = SetOwner(node, (valid & User) != 0 ? request.UInt32(76) : uint.MaxValue, (valid & Group) != 0 ? request.UInt32(80) : uint.MaxValue);
        if (error == 0 && (valid & Size) != 0)
        {
            // Through the open file where there is one: it may be changed though its permissions say otherwise by now.
            error = (valid & Handle) != 0
                ? FindFile(request.UInt64(8), out FolderFile? file) is not 0 and int failed ? failed : file!.SetLength(request.UInt64(16))
                : DropPrivileges(node) is not 0 and int kept ? kept : node.SetLength(request.UInt64(16));
        }

        if (error == 0 && (valid & (Accessed | Modified)) != 0)
        {
            error = node.SetTimes(
                Choose(valid, Accessed, AccessedNow, new FileTime((long)request.UInt64(32), request.UInt32(56))),
                Choose(valid, Modified, ModifiedNow, new FileTime((long)request.UInt64(40), request.UInt32(60))));
        }

        return error != 0 ? error : AnswerAttributes(node, reply);

        static FileTime Choose(uint valid, uint set, uint now, FileTime given) =>
            (valid & set) == 0 ? FileTime.Same : (valid & now) != 0 ? FileTime.Now : given.Nanoseconds < 1_000_000_000 ? given : FileTime.Now;
    }

    /// <summary>Owners stay as they are; asking for what is so already is no error.</summary>
    private static int SetOwner(FolderNode node, uint user, uint group)
    {
        int error = node.GetStatus(out FileStatus status);
        if (error != 0)
            return error;
        return (user == uint.MaxValue || user == status.User) && (group == uint.MaxValue || group == status.Group) ? 0 : FolderError.NotPermitted;
    }

    private int ReadLink(in FuseRequest request, FuseReply reply)
    {
        const int LongestTarget = 4096;
        Span<byte> target = stackalloc byte[LongestTarget];
        int error = FindNode(request.Node, out FolderNode node);
        if (error != 0 || (error = node.ReadLink(target, out int length)) != 0)
            return error;
        if (length > reply.Room)
            return FolderError.Range;
        reply.Data(0, target[..length]);
        return 0;
    }

    private int MakeSymbolicLink(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(0);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0 || (error = directory.MakeSymbolicLink(name, request.Name(name.Length + 1))) != 0)
            return error;
        return AnswerEntry(directory, name, reply);
    }

    private int MakeNode(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(16);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0 || (error = directory.MakeNode(name, request.UInt32(0))) != 0)
            return error;
        return AnswerMade(directory, name, request.UInt32(0), reply);
    }

    private int MakeDirectory(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(8);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0 || (error = directory.MakeDirectory(name, request.UInt32(0))) != 0)
            return error;
        return AnswerMade(directory, name, request.UInt32(0), reply);
    }

    private int AnswerMade(FolderNode directory, ReadOnlySpan<byte> name, uint mode, FuseReply reply)
    {
        int error = directory.Find(name, out FolderNode? made);
        if (error != 0)
            return error;
        Widen(made!, mode);
        return AnswerEntry(made!, reply);
    }

    private int Remove(in FuseRequest request, bool isDirectory)
    {
        int error = FindNode(request.Node, out FolderNode directory);
        return error != 0 ? error : directory.Remove(request.Name(0), isDirectory);
    }

    private int Rename(in FuseRequest request, int namesAt, uint flags)
    {
        ReadOnlySpan<byte> name = request.Name(namesAt);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0 || (error = FindNode(request.UInt64(0), out FolderNode target)) != 0)
            return error;
        return directory.Rename(name, target, request.Name(namesAt + name.Length + 1), flags);
    }

    private int Link(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(8);
        int error = FindNode(request.Node, out FolderNode directory);
        if (error != 0 || (error = FindNode(request.UInt64(0), out FolderNode file)) != 0 || (error = directory.MakeLink(file, name)) != 0)
            return error;
        return AnswerEntry(directory, name, reply);
    }
}
