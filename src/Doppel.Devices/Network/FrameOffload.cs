using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>
/// What is still to be done to a frame: struct virtio_net_hdr (virtio 1.2, 5.1.6), which Linux's tap devices use as well.
/// The default value is a finished frame.
/// </summary>
public readonly record struct FrameOffload
{
    /// <summary>Bytes of the header in memory, the number of buffers included.</summary>
    public const int Length = 12;

    private const byte NeedsChecksumFlag = 1, IsCheckedFlag = 2, EcnFlag = 0x80;

    /// <summary>True when the checksum field holds that of the pseudo header only.</summary>
    public bool NeedsChecksum { get; init; }

    /// <summary>True when whoever sent the frame vouches for its checksum.</summary>
    public bool IsChecked { get; init; }

    /// <summary>What the frame is to be cut into.</summary>
    public SegmentKind Kind { get; init; }

    /// <summary>True for TCP with the CWR bit, which only the first segment keeps.</summary>
    public bool HasEcn { get; init; }

    /// <summary>Bytes of all headers, as a hint; 0 for unknown.</summary>
    public ushort HeaderLength { get; init; }

    /// <summary>Bytes of payload of a segment.</summary>
    public ushort SegmentSize { get; init; }

    /// <summary>Where the checksum begins to count.</summary>
    public ushort ChecksumStart { get; init; }

    /// <summary>Where it is stored, from <see cref="ChecksumStart"/>.</summary>
    public ushort ChecksumOffset { get; init; }

    /// <summary>What the other side must be able to do to take the frame as it is.</summary>
    public NetworkOffloads Needed => (NeedsChecksum ? NetworkOffloads.Checksum : 0)
        | (HasEcn && Kind != SegmentKind.None ? NetworkOffloads.Ecn : 0)
        | Kind switch
        {
            SegmentKind.Tcp4 => NetworkOffloads.Tcp4,
            SegmentKind.Tcp6 => NetworkOffloads.Tcp6,
            SegmentKind.Udp => NetworkOffloads.Udp,
            _ => NetworkOffloads.None,
        };

    /// <summary>Reads and checks a header that a guest, or another machine's, has written.</summary>
    /// <param name="header">At least <see cref="Length"/> bytes.</param>
    /// <param name="frame">The frame behind it.</param>
    /// <param name="offload">What it says.</param>
    /// <returns>False when it doesn't fit the frame: such a frame is dropped.</returns>
    public static bool TryRead(ReadOnlySpan<byte> header, ReadOnlySpan<byte> frame, out FrameOffload offload)
    {
        offload = new FrameOffload
        {
            NeedsChecksum = (header[0] & NeedsChecksumFlag) != 0,
            IsChecked = (header[0] & (NeedsChecksumFlag | IsCheckedFlag)) == IsCheckedFlag,
            Kind = (SegmentKind)(header[1] & ~EcnFlag),
            HasEcn = (header[1] & EcnFlag) != 0,
            HeaderLength = BinaryPrimitives.ReadUInt16LittleEndian(header[2..]),
            SegmentSize = BinaryPrimitives.ReadUInt16LittleEndian(header[4..]),
            ChecksumStart = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]),
            ChecksumOffset = BinaryPrimitives.ReadUInt16LittleEndian(header[8..]),
        };
        if (offload.NeedsChecksum && offload.ChecksumStart + offload.ChecksumOffset + 2 > frame.Length)
            return false;
        return offload.Kind switch
        {
            SegmentKind.None => true,
            SegmentKind.Tcp4 or SegmentKind.Tcp6 or SegmentKind.Udp => offload.NeedsChecksum && FrameSegmenter.CanSegment(offload, frame),
            _ => false,
        };
    }

    /// <summary>Writes the header.</summary>
    /// <param name="header"><see cref="Length"/> bytes.</param>
    /// <param name="buffers">Number of buffers that the frame lies in.</param>
    public void Write(Span<byte> header, int buffers)
    {
        header[0] = NeedsChecksum ? NeedsChecksumFlag : IsChecked ? IsCheckedFlag : (byte)0;
        header[1] = (byte)((byte)Kind | (HasEcn && Kind != SegmentKind.None ? EcnFlag : 0));
        BinaryPrimitives.WriteUInt16LittleEndian(header[2..], HeaderLength);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], SegmentSize);
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], ChecksumStart);
        BinaryPrimitives.WriteUInt16LittleEndian(header[8..], ChecksumOffset);
        BinaryPrimitives.WriteUInt16LittleEndian(header[10..], (ushort)buffers);
    }
}
