using System.Buffers.Binary;
using Doppel.Devices.Network;
using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <content>Sending (manual, chapter 3.3): descriptors of three kinds make frames, whose checksums and segments may be the card's work.</content>
public sealed partial class E1000
{
    private const uint TransmitEnable = 2;
    private const int DescriptorLength = 16;
    private const byte EndOfPacket = 1, InsertChecksum = 4, Segments = 4, ReportStatus = 8, Extended = 0x20, VlanTag = 0x40;
    private const int VlanLength = 4, EthernetAddresses = 12;

    // The frame whose descriptors have come so far.
    private readonly byte[] _sending = new byte[CardFrame.MaximumLength];
    private int _sendingLength;
    private bool _isTooLong;
    private byte _options;
    private bool _segments;

    // The last context descriptor.
    private byte _ipStart, _ipPlace, _start, _place, _contextCommand, _headerLength;
    private ushort _ipEnd, _segmentSize;

    bool IFrameCard.TryTake(CardFrame frame)
    {
        Span<byte> descriptor = stackalloc byte[DescriptorLength];
        uint count = this[E1000Register.TransmitLength] / DescriptorLength;
        // A tail outside the ring is never reached: frames would be sent without end.
        if ((this[E1000Register.TransmitControl] & TransmitEnable) == 0 || !Config.IsBusMaster || this[E1000Register.TransmitTail] >= count)
            return false;
        for (uint steps = 0; steps <= count && this[E1000Register.TransmitHead] != this[E1000Register.TransmitTail]; steps++)
        {
            uint head = this[E1000Register.TransmitHead];
            if (head >= count)
                head = 0;
            ulong at = AddressOf(E1000Register.TransmitBase) + (head * DescriptorLength);
            if (!Memory.TryRead(at, descriptor))
                return false;
            this[E1000Register.TransmitHead] = head + 1 >= count ? 0 : head + 1;
            bool isWhole = Take(descriptor, frame);
            if ((descriptor[11] & ReportStatus) != 0)
            {
                const byte Done = 1;
                _ = Memory.TryWrite(at + 12, [(byte)(descriptor[12] | Done)]);
                _cause |= TransmitDone;
            }

            if (isWhole)
                return true;
        }

        return false;
    }

    void IFrameCard.OnTaken()
    {
        if (this[E1000Register.TransmitHead] == this[E1000Register.TransmitTail])
            _cause |= QueueEmpty;
        UpdateInterrupt();
    }

    private ulong AddressOf(int register) => (this[register] & ~15u) | ((ulong)this[register + 4] << 32);

    /// <summary>Takes a descriptor.</summary>
    /// <returns>True when it was a frame's last.</returns>
    private bool Take(ReadOnlySpan<byte> descriptor, CardFrame frame)
    {
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(descriptor);
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(descriptor[8..]);
        byte command = descriptor[11];
        bool isExtended = (command & Extended) != 0;
        if (isExtended && ((length >> 20) & 15) == 0)
        {
            TakeContext(descriptor);
            return false;
        }

        length &= isExtended ? 0xF_FFFFu : 0xFFFFu;
        if (_sendingLength == 0 && !_isTooLong)
        {
            // What is to be done with a frame is in its first descriptor.
            _options = isExtended ? descriptor[13] : (byte)0;
            _segments = isExtended && (command & Segments) != 0;
        }

        if (length > CardFrame.MaximumLength - VlanLength - _sendingLength || !Memory.TryRead(address, _sending.AsSpan(_sendingLength, (int)length)))
            _isTooLong = true;
        else
            _sendingLength += (int)length;
        if ((command & EndOfPacket) == 0)
            return false;
        bool isGood = !_isTooLong && _sendingLength != 0;
        if (isGood)
            Finish(descriptor, isExtended, frame);
        (_sendingLength, _isTooLong) = (0, false);
        return isGood;
    }

    // TCP/IP context descriptor (3.3.6).
    private void TakeContext(ReadOnlySpan<byte> descriptor)
    {
        (_ipStart, _ipPlace, _ipEnd) = (descriptor[0], descriptor[1], BinaryPrimitives.ReadUInt16LittleEndian(descriptor[2..]));
        (_start, _place) = (descriptor[4], descriptor[5]);
        (_contextCommand, _headerLength, _segmentSize) = (descriptor[11], descriptor[13], BinaryPrimitives.ReadUInt16LittleEndian(descriptor[14..]));
    }

    private void Finish(ReadOnlySpan<byte> descriptor, bool isExtended, CardFrame frame)
    {
        const byte IpChecksum = 1, TransportChecksum = 2;
        int length = _sendingLength;
        Span<byte> bytes = _sending.AsSpan(0, length);
        FrameOffload offload = default;
        if (!isExtended && (descriptor[11] & InsertChecksum) != 0)
            offload = Checksum(descriptor[13], descriptor[10], length);
        else if (isExtended && _segments && TrySegment(bytes, out FrameOffload segments))
            offload = segments;
        else if (isExtended && (_options & TransportChecksum) != 0)
            offload = Checksum(_start, _place, length);
        if (isExtended && !_segments && (_options & IpChecksum) != 0)
            WriteIpChecksum(bytes);
        int shift = 0;
        if ((descriptor[11] & VlanTag) != 0 && (this[E1000Register.Control] & VlanMode) != 0 && length >= EthernetAddresses)
        {
            bytes[..EthernetAddresses].CopyTo(frame.Buffer);
            BinaryPrimitives.WriteUInt16BigEndian(frame.Buffer.AsSpan(EthernetAddresses), (ushort)this[E1000Register.VlanType]);
            descriptor.Slice(14, 2).CopyTo(frame.Buffer.AsSpan(EthernetAddresses + 2));
            frame.Buffer.AsSpan(EthernetAddresses + 2, 2).Reverse();
            shift = VlanLength;
        }

        bytes[(shift == 0 ? 0 : EthernetAddresses)..].CopyTo(frame.Buffer.AsSpan(shift == 0 ? 0 : EthernetAddresses + shift));
        frame.Length = length + shift;
        frame.Offload = offload.NeedsChecksum && shift != 0 ? offload with { ChecksumStart = (ushort)(offload.ChecksumStart + shift) } : offload;
        this[E1000Register.GoodSent]++;
        this[E1000Register.AllSent]++;
        this[E1000Register.BytesSent] += (uint)frame.Length;
    }

    private static FrameOffload Checksum(int start, int place, int length) => place < start || place + 2 > length
        ? default
        : new FrameOffload { NeedsChecksum = true, ChecksumStart = (ushort)start, ChecksumOffset = (ushort)(place - start) };

    private void WriteIpChecksum(Span<byte> frame)
    {
        int end = _ipEnd == 0 ? frame.Length : Math.Min(_ipEnd + 1, frame.Length);
        if (_ipStart >= end || _ipPlace + 2 > frame.Length)
            return;
        frame.Slice(_ipPlace, 2).Clear();
        BinaryPrimitives.WriteUInt16BigEndian(frame[_ipPlace..], InternetChecksum.Finish(InternetChecksum.Add(frame[_ipStart..end])));
    }

    /// <summary>
    /// Makes of a frame that is to be cut into segments one whose headers are those of the whole: the driver left lengths and
    /// sums to the card (3.5).
    /// </summary>
    private bool TrySegment(Span<byte> frame, out FrameOffload offload)
    {
        const byte IsTcp = 1, IsIpv4 = 2;
        bool isIpv4 = (_contextCommand & IsIpv4) != 0;
        int header = isIpv4 ? 20 : 40;
        offload = default;
        if ((_contextCommand & IsTcp) == 0 || _segmentSize == 0 || _headerLength >= frame.Length || _ipStart + header > _start || _start + 20 > frame.Length || _place != _start + 16 || frame.Length - _ipStart > ushort.MaxValue)
            return false;
        Span<byte> ip = frame[_ipStart..];
        ulong sum;
        if (isIpv4)
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)ip.Length);
            WriteIpChecksum(frame);
            sum = InternetChecksum.Add(ip.Slice(12, 8));
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)(ip.Length - header));
            sum = InternetChecksum.Add(ip.Slice(8, 32));
        }

        Span<byte> rest = [0, 6, 0, 0];
        BinaryPrimitives.WriteUInt16BigEndian(rest[2..], (ushort)(frame.Length - _start));
        BinaryPrimitives.WriteUInt16BigEndian(frame[_place..], (ushort)~InternetChecksum.Finish(InternetChecksum.Add(rest, sum)));
        offload = new FrameOffload
        {
            NeedsChecksum = true,
            Kind = isIpv4 ? SegmentKind.Tcp4 : SegmentKind.Tcp6,
            HeaderLength = _headerLength,
            SegmentSize = _segmentSize,
            ChecksumStart = _start,
            ChecksumOffset = 16,
        };
        // What the driver says must be so: the segmenter trusts it.
        return FrameSegmenter.CanSegment(offload, frame);
    }

    private void ResetFrame()
    {
        (_sendingLength, _isTooLong, _options, _segments) = (0, false, 0, false);
        (_ipStart, _ipPlace, _start, _place, _contextCommand, _headerLength, _ipEnd, _segmentSize) = (0, 0, 0, 0, 0, 0, 0, 0);
    }

    private void SaveFrame(StateWriter writer)
    {
        writer.Write(_sending.AsSpan(0, _sendingLength));
        writer.Write(_isTooLong);
        writer.Write(_segments);
        foreach (byte value in (byte[])[_options, _ipStart, _ipPlace, _start, _place, _contextCommand, _headerLength])
            writer.Write(value);
        writer.Write(_ipEnd);
        writer.Write(_segmentSize);
    }

    private Action ReadFrame(StateReader reader)
    {
        byte[] sending = reader.ReadBytes(CardFrame.MaximumLength - VlanLength);
        bool isTooLong = reader.ReadBool(), segments = reader.ReadBool();
        byte[] values = [.. Enumerable.Range(0, 7).Select(_ => reader.ReadByte())];
        ushort ipEnd = reader.ReadUInt16(), segmentSize = reader.ReadUInt16();
        return () =>
        {
            sending.CopyTo(_sending, 0);
            (_sendingLength, _isTooLong, _segments, _ipEnd, _segmentSize) = (sending.Length, isTooLong, segments, ipEnd, segmentSize);
            (_options, _ipStart, _ipPlace, _start, _place, _contextCommand, _headerLength) = (values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
        };
    }
}
