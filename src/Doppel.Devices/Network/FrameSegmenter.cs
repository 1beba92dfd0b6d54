using System.Buffers.Binary;

namespace Doppel.Devices.Network;

/// <summary>Cuts a large TCP or UDP frame into the frames that a network card with segmentation offload would send, for receivers that can't take it whole.</summary>
public readonly ref struct FrameSegmenter
{
    private const byte Fin = 1, Push = 8, Cwr = 0x80;
    private readonly ReadOnlySpan<byte> _frame;
    private readonly FrameHeaders _headers;
    private readonly FrameOffload _offload;
    private readonly int _headerLength;

    /// <summary>Prepares a frame.</summary>
    /// <param name="offload">How it is to be cut; <see cref="FrameOffload.TryRead"/> has found it right.</param>
    /// <param name="frame">The frame; must stay as it is meanwhile.</param>
    public FrameSegmenter(in FrameOffload offload, ReadOnlySpan<byte> frame)
    {
        if (!FrameHeaders.TryFind(frame, out _headers) || !CanSegment(offload, frame))
            throw new ArgumentException("the frame can't be cut into segments", nameof(frame));
        _frame = frame;
        _offload = offload;
        _headerLength = HeaderLength(offload, frame);
        Count = (frame.Length - _headerLength + offload.SegmentSize - 1) / offload.SegmentSize;
    }

    /// <summary>Number of segments.</summary>
    public int Count { get; }

    /// <summary>Bytes of the longest.</summary>
    public int MaximumLength => _headerLength + _offload.SegmentSize;

    /// <summary>Writes one of the segments, finished.</summary>
    /// <param name="index">Its number.</param>
    /// <param name="target">At least <see cref="MaximumLength"/> bytes.</param>
    /// <returns>Its length.</returns>
    public int Write(int index, Span<byte> target)
    {
        int begin = index * _offload.SegmentSize;
        int payload = Math.Min(_offload.SegmentSize, _frame.Length - _headerLength - begin);
        int length = _headerLength + payload;
        Span<byte> segment = target[..length];
        _frame[.._headerLength].CopyTo(segment);
        _frame.Slice(_headerLength + begin, payload).CopyTo(segment[_headerLength..]);
        WriteNetworkHeader(index, segment);
        int transport = _offload.ChecksumStart;
        bool isTcp = _offload.Kind != SegmentKind.Udp;
        Span<byte> header = segment[transport..];
        if (isTcp)
        {
            BinaryPrimitives.WriteUInt32BigEndian(header[4..], BinaryPrimitives.ReadUInt32BigEndian(header[4..]) + (uint)begin);
            if (index != Count - 1)
                header[13] &= unchecked((byte)~(Fin | Push));
            if (index != 0)
                header[13] &= unchecked((byte)~Cwr);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(header[4..], (ushort)header.Length);
        }

        Span<byte> checksum = header[_offload.ChecksumOffset..];
        checksum[..2].Clear();
        ulong sum = _headers.PseudoHeader(segment, isTcp ? FrameHeaders.Tcp : FrameHeaders.Udp, header.Length);
        ushort value = InternetChecksum.Finish(InternetChecksum.Add(header, sum));
        BinaryPrimitives.WriteUInt16BigEndian(checksum, value == 0 && !isTcp ? ushort.MaxValue : value);
        return length;
    }

    /// <summary>True when a frame can be cut as it says.</summary>
    internal static bool CanSegment(in FrameOffload offload, ReadOnlySpan<byte> frame)
    {
        if (offload.SegmentSize == 0 || !FrameHeaders.TryFind(frame, out FrameHeaders headers))
            return false;
        bool isIpv6 = offload.Kind == SegmentKind.Tcp6 || (offload.Kind == SegmentKind.Udp && headers.IsIpv6);
        byte protocol = offload.Kind == SegmentKind.Udp ? FrameHeaders.Udp : FrameHeaders.Tcp;
        // With extension headers of IPv6 in between only the offset tells where the transport header is.
        bool fits = headers.IsIpv6
            ? offload.ChecksumStart >= headers.Transport && (headers.Protocol == protocol) == (offload.ChecksumStart == headers.Transport)
            : offload.ChecksumStart == headers.Transport && headers.Protocol == protocol;
        int checksum = protocol == FrameHeaders.Udp ? 6 : 16;
        if (headers.IsIpv6 != isIpv6 || !fits || offload.ChecksumOffset != checksum || frame.Length < offload.ChecksumStart + checksum + 2)
            return false;
        int length = HeaderLength(offload, frame);
        return length >= offload.ChecksumStart + checksum + 2 && length < frame.Length && length - headers.Network + offload.SegmentSize <= ushort.MaxValue;
    }

    private static int HeaderLength(in FrameOffload offload, ReadOnlySpan<byte> frame) =>
        offload.ChecksumStart + (offload.Kind == SegmentKind.Udp ? 8 : (frame[offload.ChecksumStart + 12] >> 4) * 4);

    private void WriteNetworkHeader(int index, Span<byte> segment)
    {
        Span<byte> header = segment[_headers.Network..];
        if (_headers.IsIpv6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(header[4..], (ushort)(header.Length - 40));
            return;
        }

        BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)header.Length);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], (ushort)(BinaryPrimitives.ReadUInt16BigEndian(header[4..]) + index));
        header[10..12].Clear();
        BinaryPrimitives.WriteUInt16BigEndian(header[10..], InternetChecksum.Finish(InternetChecksum.Add(header[..(_headers.Transport - _headers.Network)])));
    }
}
