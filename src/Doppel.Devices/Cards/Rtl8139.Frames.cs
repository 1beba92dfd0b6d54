using System.Buffers.Binary;

namespace Doppel.Devices.Cards;

/// <content>Sending from four buffers in turn (data sheet, 5.3), and receiving into one that goes round (5.5 and 7).</content>
public sealed partial class Rtl8139
{
    private const uint Done = 1 << 13, Sent = 1 << 15, Aborted = 1 << 30;
    private const int SizeMask = 0x1FFF, LongestSent = 1792;
    private const uint AllUnicast = 1, OwnAddress = 2, AllMulticast = 4, Broadcast = 8, Wraps = 0x80;
    private const int HeaderLength = 4, CheckBytes = 4;
    private int _next;

    bool IFrameCard.IsReceiving => (Command & ReceiverEnabled) != 0 && Config.IsBusMaster;

    private int BufferSize => 8192 << (int)((Get(Rtl8139Register.ReceiveConfiguration, 4) >> 11) & 3);

    // The guest's place lags by sixteen bytes.
    private int ReadPlace => (int)(Get(Rtl8139Register.ReadPlace, 2) + 16) & (BufferSize - 1);

    private int WritePlace => (int)Get(Rtl8139Register.WritePlace, 2) & (BufferSize - 1);

    private bool IsEmpty => ReadPlace == WritePlace;

    // Four bits each: the buffer is the guest's, aborted, underrun, sent.
    private uint TransmitSummary
    {
        get
        {
            uint summary = 0;
            for (int i = 0; i < Rtl8139Register.Descriptors; i++)
            {
                uint status = Get(Rtl8139Register.TransmitStatus + (4 * i), 4);
                summary |= (((status & Done) != 0 ? 1u : 0) | ((status & Aborted) != 0 ? 0x10u : 0) | ((status & Sent) != 0 ? 0x1000u : 0)) << i;
            }

            return summary;
        }
    }

    bool IFrameCard.TryTake(CardFrame frame)
    {
        for (int i = 0; i < Rtl8139Register.Descriptors && (Command & TransmitterEnabled) != 0 && Config.IsBusMaster; i++)
        {
            int register = Rtl8139Register.TransmitStatus + (4 * _next);
            uint status = Get(register, 4);
            if ((status & Done) != 0)
                return false;
            int length = (int)(status & SizeMask);
            bool isGood = length is > 0 and <= LongestSent && Memory.TryRead(Get(Rtl8139Register.TransmitAddress + (4 * _next), 4), frame.Buffer.AsSpan(0, length));
            Set(register, 4, status | Done | (isGood ? Sent : Aborted));
            _next = (_next + 1) % Rtl8139Register.Descriptors;
            Set(Rtl8139Register.InterruptStatus, 2, Get(Rtl8139Register.InterruptStatus, 2) | (isGood ? TransmitOk : TransmitError));
            if (!isGood)
            {
                UpdateInterrupt();
                continue;
            }

            frame.Length = length;
            frame.Offload = default;
            if (!IsLooped)
                return true;
            if ((Command & ReceiverEnabled) != 0)
                _ = Put(frame.Bytes);
            UpdateInterrupt();
        }

        return false;
    }

    void IFrameCard.OnTaken() => UpdateInterrupt();

    bool IFrameCard.TryPut(ReadOnlySpan<byte> frame) => IsLooped || Put(frame);

    private bool IsLooped => ((Get(Rtl8139Register.TransmitConfiguration, 4) >> 17) & 3) == 3;

    // A write clears what was told of the last frame.
    private void BeginTransmit(int offset, int size)
    {
        for (int i = 0; i < Rtl8139Register.Descriptors; i++)
        {
            int register = Rtl8139Register.TransmitStatus + (4 * i);
            if (offset < register + 4 && offset + size > register)
                Set(register, 4, Get(register, 4) & 0x003F_3FFF);
        }

        Cable.Wake();
    }

    /// <summary>Stores a frame, unless no filter lets it in.</summary>
    /// <returns>False when there is no room.</returns>
    private bool Put(ReadOnlySpan<byte> frame)
    {
        const int Slack = 2048;
        const ushort Good = 1, IsBroadcast = 0x2000, IsOwn = 0x4000, IsMulticast = 0x8000;
        if (frame.Length > LongestSent)
            return true;
        uint configuration = Get(Rtl8139Register.ReceiveConfiguration, 4);
        bool isGroup = (frame[0] & 1) != 0, isBroadcast = frame[..6].IndexOfAnyExcept((byte)0xFF) < 0;
        bool isOwn = frame[..6].SequenceEqual(_registers.AsSpan(Rtl8139Register.Address, 6));
        bool isWanted = (configuration & AllUnicast) != 0
            || (isBroadcast ? (configuration & Broadcast) != 0
                : isGroup ? (configuration & AllMulticast) != 0 && IsInTable(frame[..6])
                : isOwn && (configuration & OwnAddress) != 0);
        if (!isWanted)
            return true;
        int size = BufferSize, place = WritePlace, length = frame.Length + CheckBytes;
        int taken = (HeaderLength + length + 3) & ~3, free = IsEmpty ? size : (ReadPlace - place) & (size - 1);
        // Full would look like empty.
        if (taken >= free)
            return false;
        byte[] bytes = new byte[HeaderLength + length];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)(Good | (isBroadcast ? IsBroadcast : isGroup ? IsMulticast : isOwn ? IsOwn : 0)));
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2), (ushort)length);
        frame.CopyTo(bytes.AsSpan(HeaderLength));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(HeaderLength + frame.Length), FrameCheck.Of(frame));
        ulong buffer = Get(Rtl8139Register.ReceiveBuffer, 4);
        // A frame that goes beyond the end stays whole where the guest has left room behind, which 64 KiB don't have.
        bool staysWhole = (configuration & Wraps) != 0 && size < 65536 && bytes.Length <= size - place + Slack;
        int first = staysWhole ? bytes.Length : Math.Min(bytes.Length, size - place);
        // What isn't RAM takes nothing, as on the bus.
        _ = Memory.TryWrite(buffer + (ulong)place, bytes.AsSpan(0, first));
        _ = Memory.TryWrite(buffer, bytes.AsSpan(first));
        Set(Rtl8139Register.WritePlace, 2, (uint)((place + taken) & (size - 1)));
        Raise(ReceiveOk);
        return true;
    }

    private bool IsInTable(ReadOnlySpan<byte> address)
    {
        int bit = FrameCheck.HashOf(address);
        return (_registers[Rtl8139Register.MulticastTable + (bit >> 3)] & (1 << (bit & 7))) != 0;
    }
}
