using System.Buffers;
using Doppel.Host.Folders;

namespace Doppel.Devices.SharedFolders;

/// <content>Extended attributes.</content>
public sealed partial class FuseServer
{
    private int SetAttribute(in FuseRequest request)
    {
        const int NameAt = 8;
        uint size = request.UInt32(0);
        ReadOnlySpan<byte> name = request.Name(NameAt);
        int valueAt = NameAt + name.Length + 1;
        int error = FindNode(request.Node, out FolderNode node);
        if (error != 0)
            return error;
        if (valueAt > request.Arguments.Length || size > request.Arguments.Length - valueAt)
            return FolderError.Invalid;
        return node.SetAttribute(name, request.Arguments.Slice(valueAt, (int)size), request.UInt32(4));
    }

    private int GetAttribute(in FuseRequest request, FuseReply reply)
    {
        ReadOnlySpan<byte> name = request.Name(8);
        int error = FindNode(request.Node, out FolderNode node);
        if (error != 0)
            return error;
        byte[] value = ArrayPool<byte>.Shared.Rent(FolderNode.LongestAttribute);
        try
        {
            error = node.GetAttribute(name, value.AsSpan(0, FolderNode.LongestAttribute), out int length);
            return error != 0 ? error : AnswerAttribute(value.AsSpan(0, length), request.UInt32(0), reply);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(value);
        }
    }

    private int ListAttributes(in FuseRequest request, FuseReply reply)
    {
        int error = FindNode(request.Node, out FolderNode node);
        if (error != 0)
            return error;
        byte[] names = ArrayPool<byte>.Shared.Rent(FolderNode.LongestAttribute);
        try
        {
            error = node.ListAttributes(names.AsSpan(0, FolderNode.LongestAttribute), out int length);
            return error != 0 ? error : AnswerAttribute(names.AsSpan(0, length), request.UInt32(0), reply);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(names);
        }
    }

    private int RemoveAttribute(in FuseRequest request)
    {
        int error = FindNode(request.Node, out FolderNode node);
        return error != 0 ? error : node.RemoveAttribute(request.Name(0));
    }

    /// <summary>Answers with bytes, or with their number when the guest asks for that by a size of zero.</summary>
    private static int AnswerAttribute(ReadOnlySpan<byte> bytes, uint size, FuseReply reply)
    {
        if (size == 0)
        {
            _ = reply.UInt32((uint)bytes.Length).UInt32(0);
            return 0;
        }

        if (bytes.Length > size || bytes.Length > reply.Room)
            return FolderError.Range;
        reply.Data(0, bytes);
        return 0;
    }
}
