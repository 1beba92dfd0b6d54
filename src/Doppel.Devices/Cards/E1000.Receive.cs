using System.Buffers.Binary;

namespace Doppel.Devices.Cards;

/// <content>Receiving (manual, chapter 3.2): filters, and frames spread over as many buffers as they need.</content>
public sealed partial class E1000
{
    private const uint ReceiveEnable = 2, AllUnicast = 8, AllMulticast = 0x10, LongFrames = 0x20, AcceptBroadcast = 1 << 15, FilterVlans = 1 << 18, BigBuffers = 1 << 25, StripCheck = 1 << 26;
    private const int CheckLength = 4, LongestNormalFrame = 1522;

    bool IFrameCard.IsReceiving => (this[E1000Register.ReceiveControl] & ReceiveEnable) != 0 && Config.IsBusMaster && this[E1000Register.ReceiveLength] != 0;

    bool IFrameCard.TryPut(ReadOnlySpan<byte> frame)
    {
        uint control = this[E1000Register.ReceiveControl];
        int length = frame.Length + CheckLength;
        if ((length > LongestNormalFrame && (control & LongFrames) == 0) || !Accepts(frame))
            return true;
        bool strips = (control & StripCheck) != 0;
        ushort tag = 0;
        bool hasTag = (this[E1000Register.Control] & VlanMode) != 0 && BinaryPrimitives.ReadUInt16BigEndian(frame[EthernetAddresses..]) == (ushort)this[E1000Register.VlanType];
        int skipped = hasTag ? VlanLength : 0;
        if (hasTag)
            tag = BinaryPrimitives.ReadUInt16BigEndian(frame[(EthernetAddresses + 2)..]);
        int size = BufferLength(control), total = frame.Length - skipped + (strips ? 0 : CheckLength);
        uint needed = (uint)((total + size - 1) / size), count = this[E1000Register.ReceiveLength] / DescriptorLength;
        if (needed > Free(count))
            return needed >= count;
        byte[] bytes = new byte[total];
        frame[..(hasTag ? EthernetAddresses : frame.Length)].CopyTo(bytes);
        if (hasTag)
            frame[(EthernetAddresses + VlanLength)..].CopyTo(bytes.AsSpan(EthernetAddresses));
        if (!strips)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(total - CheckLength), FrameCheck.Of(frame));
        Store(bytes, size, count, hasTag, tag);
        this[E1000Register.GoodReceived]++;
        this[E1000Register.AllReceived]++;
        this[E1000Register.BytesReceived] += (uint)length;
        Raise(ReceiveTimer | (IsShort(count, control) ? FewDescriptors : 0));
        return true;
    }

    private static int BufferLength(uint control)
    {
        int shift = (int)((control >> 16) & 3);
        return (control & BigBuffers) == 0 ? 2048 >> shift : shift == 0 ? 2048 : 32768 >> shift;
    }

    private uint Free(uint count)
    {
        uint head = this[E1000Register.ReceiveHead], tail = this[E1000Register.ReceiveTail];
        return head >= count || tail >= count ? 0 : (tail + count - head) % count;
    }

    // Half, a quarter or an eighth of the ring left (13.4.22).
    private bool IsShort(uint count, uint control) => Free(count) <= count >> (int)(((control >> 8) & 3) + 1);

    private void Store(ReadOnlySpan<byte> bytes, int size, uint count, bool hasTag, ushort tag)
    {
        const byte Done = 1, End = 2, IgnoreChecksum = 4, HasVlan = 8;
        Span<byte> descriptor = stackalloc byte[DescriptorLength];
        while (bytes.Length > 0)
        {
            uint head = this[E1000Register.ReceiveHead];
            ulong at = AddressOf(E1000Register.ReceiveBase) + (head * DescriptorLength);
            if (Memory.TryRead(at, descriptor))
            {
                ReadOnlySpan<byte> part = bytes[..Math.Min(size, bytes.Length)];
                // A buffer that isn't RAM takes nothing, as on the bus.
                _ = Memory.TryWrite(BinaryPrimitives.ReadUInt64LittleEndian(descriptor), part);
                BinaryPrimitives.WriteUInt16LittleEndian(descriptor[8..], (ushort)part.Length);
                descriptor[10..].Clear();
                descriptor[12] = (byte)(Done | IgnoreChecksum | (part.Length == bytes.Length ? End : 0) | (hasTag ? HasVlan : 0));
                BinaryPrimitives.WriteUInt16LittleEndian(descriptor[14..], tag);
                _ = Memory.TryWrite(at, descriptor);
            }

            bytes = bytes[Math.Min(size, bytes.Length)..];
            this[E1000Register.ReceiveHead] = head + 1 >= count ? 0 : head + 1;
        }
    }

    // 3.2.1, and the hash of 13.5.1 over the upper address bits.
    private bool Accepts(ReadOnlySpan<byte> frame)
    {
        const uint Valid = 1u << 31;
        uint control = this[E1000Register.ReceiveControl];
        if ((control & FilterVlans) != 0 && BinaryPrimitives.ReadUInt16BigEndian(frame[EthernetAddresses..]) == (ushort)this[E1000Register.VlanType])
        {
            int vlan = BinaryPrimitives.ReadUInt16BigEndian(frame[(EthernetAddresses + 2)..]) & 0xFFF;
            if ((this[E1000Register.VlanTable + (vlan >> 5 << 2)] & (1u << (vlan & 31))) == 0)
                return false;
        }

        bool isMulticast = (frame[0] & 1) != 0, isBroadcast = frame[..6].IndexOfAnyExcept((byte)0xFF) < 0;
        if ((isBroadcast && (control & AcceptBroadcast) != 0) || (isMulticast ? (control & AllMulticast) != 0 : (control & AllUnicast) != 0))
            return true;
        uint low = BinaryPrimitives.ReadUInt32LittleEndian(frame);
        uint high = BinaryPrimitives.ReadUInt16LittleEndian(frame[4..]);
        for (int i = 0; i < E1000Register.AddressCount; i++)
        {
            int register = E1000Register.FirstAddress + (8 * i);
            if ((this[register + 4] & Valid) != 0 && this[register] == low && (this[register + 4] & 0xFFFF) == high)
                return true;
        }

        if (!isMulticast)
            return false;
        int shift = (int)((control >> 12) & 3) switch { 0 => 4, 1 => 3, 2 => 2, _ => 0 };
        int hash = (int)(high >> shift) & 0xFFF;
        return (this[E1000Register.MulticastTable + (hash >> 5 << 2)] & (1u << (hash & 31))) != 0;
    }
}
