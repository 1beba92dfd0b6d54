namespace Doppel.Devices.Cards;

/// <content>Sending from one buffer, and receiving into a ring of pages (data sheet, 7.0 and 9.0).</content>
public sealed partial class Ne2000
{
    private const byte AcceptBroadcast = 4, AcceptMulticast = 8, AcceptAll = 0x10, MonitorOnly = 0x20;
    private const int HeaderLength = 4, CheckBytes = 4, LongestFrame = 1518;

    bool IFrameCard.IsReceiving => IsRunning && !IsLooped && _firstPage < _lastPage;

    private bool IsLooped => (_transmitConfiguration & 6) != 0;

    bool IFrameCard.TryTake(CardFrame frame)
    {
        if (!IsRunning || (_command & Transmit) == 0)
            return false;
        int length = Math.Min((int)_transmitLength, LongestFrame);
        for (int i = 0; i < length; i++)
            frame.Buffer[i] = ReadByte((ushort)((_transmitPage * PageLength) + i));
        (frame.Length, frame.Offload) = (length, default);
        _command &= unchecked((byte)~Transmit);
        _transmitStatus = Sent >> 1;
        _status |= Sent;
        if (!IsLooped)
            return true;
        UpdateInterrupt();
        return false;
    }

    void IFrameCard.OnTaken() => UpdateInterrupt();

    bool IFrameCard.TryPut(ReadOnlySpan<byte> frame)
    {
        const byte IntactOnly = 1, ByGroup = 0x20;
        int count = frame.Length + CheckBytes;
        bool isGroup = (frame[0] & 1) != 0, isBroadcast = frame[..6].IndexOfAnyExcept((byte)0xFF) < 0;
        bool isWanted = isBroadcast ? (_receiveConfiguration & AcceptBroadcast) != 0
            : isGroup ? (_receiveConfiguration & AcceptMulticast) != 0 && IsInTable(frame[..6])
            : (_receiveConfiguration & AcceptAll) != 0 || frame[..6].SequenceEqual(_address);
        if (!isWanted || (_receiveConfiguration & MonitorOnly) != 0 || count > LongestFrame)
            return true;
        int ring = _lastPage - _firstPage, pages = (HeaderLength + count + PageLength - 1) / PageLength;
        int free = _boundary > _current ? _boundary - _current : ring - (_current - _boundary);
        // The page of the boundary is never reached; places outside the ring are the guest's own fault.
        if (_current < _firstPage || _current >= _lastPage || pages >= ring)
            return true;
        if (pages >= free)
            return false;
        int next = _current + pages;
        if (next >= _lastPage)
            next -= ring;
        _receiveStatus = (byte)(IntactOnly | (isGroup ? ByGroup : 0));
        int at = _current * PageLength;
        void Put(byte value)
        {
            WriteByte(at++, value);
            if (at == _lastPage * PageLength)
                at = _firstPage * PageLength;
        }

        Put(_receiveStatus);
        Put((byte)next);
        Put((byte)count);
        Put((byte)(count >> 8));
        foreach (byte part in frame)
            Put(part);
        uint check = FrameCheck.Of(frame);
        for (int i = 0; i < CheckBytes; i++)
            Put((byte)(check >> (8 * i)));
        _current = (byte)next;
        Raise(Received);
        return true;
    }

    private bool IsInTable(ReadOnlySpan<byte> address)
    {
        int bit = FrameCheck.HashOf(address);
        return (_multicast[bit >> 3] & (1 << (bit & 7))) != 0;
    }
}
