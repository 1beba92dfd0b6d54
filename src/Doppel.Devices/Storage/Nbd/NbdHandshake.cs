using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Nbd;

/// <summary>The beginning of a connection to an NBD server: fixed newstyle negotiation (the project's doc/proto.md).</summary>
internal static class NbdHandshake
{
    private const ulong ServerMagic = 0x4E42444D41474943;
    private const ulong OptionMagic = 0x49484156454F5054;
    private const ulong ReplyMagic = 0x0003E889045565A9;
    private const uint FixedNewstyle = 1;
    private const uint NoZeroes = 2;
    private const uint Go = 7;
    private const uint Acknowledged = 1;
    private const uint Information = 3;
    private const uint ErrorBit = 1U << 31;
    private const int MaximumReply = 1 << 16;

    /// <summary>Agrees on an export.</summary>
    /// <returns>Its length and transmission flags.</returns>
    /// <exception cref="DiskImageException">The server is none, is too old, or hasn't the export.</exception>
    internal static (ulong Length, ushort Flags) Negotiate(string name, Socket socket, string export)
    {
        byte[] greeting = Receive(socket, 18);
        if (U64(greeting, 0) != ServerMagic || U64(greeting, 8) != OptionMagic || (BinaryPrimitives.ReadUInt16BigEndian(greeting.AsSpan(16)) & FixedNewstyle) == 0)
            throw new DiskImageException($"{name}: what answers there is no NBD server, or one that is too old (it lacks the fixed newstyle negotiation)");
        byte[] exportName = Encoding.UTF8.GetBytes(export);
        byte[] request = new byte[4 + 16 + 4 + exportName.Length + 2];
        BinaryPrimitives.WriteUInt32BigEndian(request, FixedNewstyle | (BinaryPrimitives.ReadUInt16BigEndian(greeting.AsSpan(16)) & NoZeroes));
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(12), Go);
        BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(16), (uint)(request.Length - 20));
        BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(20), (uint)exportName.Length);
        exportName.CopyTo(request.AsSpan(24));
        NbdConnection.Send(socket, request);
        (ulong, ushort)? found = null;
        while (true)
        {
            byte[] reply = Receive(socket, 20);
            uint type = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(12)), length = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(16));
            if (U64(reply, 0) != ReplyMagic || length > MaximumReply)
                throw new DiskImageException($"{name}: the server's answer is not of the NBD protocol");
            byte[] data = Receive(socket, (int)length);
            if ((type & ErrorBit) != 0)
                throw new DiskImageException($"{name}: the server refuses the export \"{export}\" (error {type & ~ErrorBit}{(data.Length == 0 ? "" : ": " + Encoding.UTF8.GetString(data))})");
            if (type == Information && data.Length >= 12 && BinaryPrimitives.ReadUInt16BigEndian(data) == 0)
                found = (U64(data, 2), BinaryPrimitives.ReadUInt16BigEndian(data.AsSpan(10)));
            if (type == Acknowledged)
                return found ?? throw new DiskImageException($"{name}: the server doesn't say how large the export is");
        }
    }

    private static ulong U64(byte[] bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(at));

    private static byte[] Receive(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        NbdConnection.Receive(socket, bytes);
        return bytes;
    }
}
