using System.Buffers.Binary;

namespace Doppel.Devices.Vsock;

/// <summary>Header of a vsock packet (virtio 1.2, 5.10.6, struct virtio_vsock_hdr).</summary>
internal readonly record struct VsockPacket
{
    /// <summary>Bytes of a header.</summary>
    internal const int HeaderLength = 44;

    /// <summary>Context id of the host (5.10.4).</summary>
    internal const ulong HostCid = 2;

    /// <summary>Type of a stream socket.</summary>
    internal const ushort Stream = 1;

    internal const ushort Request = 1, Response = 2, Reset = 3, Shutdown = 4, Data = 5, CreditUpdate = 6, CreditRequest = 7;

    /// <summary>Flags of <see cref="Shutdown"/>: who sends it receives, or sends, no more.</summary>
    internal const uint NoMoreReceived = 1, NoMoreSent = 2;

    internal ulong SourceCid { get; init; }

    internal ulong DestinationCid { get; init; }

    internal uint SourcePort { get; init; }

    internal uint DestinationPort { get; init; }

    /// <summary>Bytes behind the header.</summary>
    internal uint Length { get; init; }

    internal ushort Type { get; init; }

    internal ushort Operation { get; init; }

    internal uint Flags { get; init; }

    /// <summary>Bytes that the sender keeps for what it receives on this connection.</summary>
    internal uint BufferSize { get; init; }

    /// <summary>Bytes that the sender has passed on, modulo 2^32.</summary>
    internal uint Forwarded { get; init; }

    internal static VsockPacket Read(ReadOnlySpan<byte> bytes) => new()
    {
        SourceCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes),
        DestinationCid = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
        SourcePort = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]),
        DestinationPort = BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]),
        Length = BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]),
        Type = BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]),
        Operation = BinaryPrimitives.ReadUInt16LittleEndian(bytes[30..]),
        Flags = BinaryPrimitives.ReadUInt32LittleEndian(bytes[32..]),
        BufferSize = BinaryPrimitives.ReadUInt32LittleEndian(bytes[36..]),
        Forwarded = BinaryPrimitives.ReadUInt32LittleEndian(bytes[40..]),
    };

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, SourceCid);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], DestinationCid);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], SourcePort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[20..], DestinationPort);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[24..], Length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[28..], Type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[30..], Operation);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[32..], Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[36..], BufferSize);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[40..], Forwarded);
    }
}
