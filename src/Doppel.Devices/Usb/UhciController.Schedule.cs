using System.Buffers.Binary;

namespace Doppel.Devices.Usb;

/// <content>The schedule (UHCI design guide 1.1, chapter 3).</content>
public sealed partial class UhciController
{
    private const uint Terminates = 1, IsQueue = 2, IsDepthFirst = 4, AddressOf = ~0xFu;
    // What 12 Mbit/s carry in a millisecond, and entries without a transaction that a chain may have before it is taken for a ring.
    private const int FrameBytes = 1500, TransactionOverhead = 13, MostEntries = 1024;
    private readonly byte[] _packet = new byte[UhciTransfer.LongestPacket];
    private int _frameRoom;

    /// <summary>Finds by few marks that a chain comes back to where it was (Brent).</summary>
    private struct RingFinder
    {
        private uint _mark;
        private int _steps;
        private int _limit;

        internal bool IsBackAt(uint queue)
        {
            if (_limit != 0 && queue == _mark)
                return true;
            if (_steps++ < _limit)
                return false;
            (_mark, _steps, _limit) = (queue, 0, _limit == 0 ? 1 : 2 * _limit);
            return false;
        }
    }

    private enum Outcome
    {
        /// <summary>The descriptor is done, what follows it may be looked at.</summary>
        Done,

        /// <summary>Not now, or not any more.</summary>
        Waits,

        /// <summary>The controller has stopped.</summary>
        Failed,
    }

    /// <summary>Walks the schedule of one frame.</summary>
    /// <returns>True when a transaction took place that wasn't answered by a NAK.</returns>
    private bool WalkFrame()
    {
        if (!Config.IsBusMaster || !TryRead(_frameList + (4u * (_frame & 0x3FFu)), out uint link))
            return false;
        bool isBusy = false;
        int entries = MostEntries;
        var ring = new RingFinder();
        _frameRoom = FrameBytes;
        while ((link & Terminates) == 0 && entries-- > 0 && _frameRoom > 0)
        {
            if ((link & IsQueue) == 0)
            {
                if (!TryReadTransfer(link & AddressOf, out UhciTransfer transfer) || Transact(link & AddressOf, transfer, ref isBusy) == Outcome.Failed)
                    break;
                link = transfer.Link;
                continue;
            }

            uint queue = link & AddressOf;
            bool progresses = false;
            // Queues may form a ring, of which a frame has enough once nothing more comes of it.
            if (ring.IsBackAt(queue) || !WalkQueue(queue, ref entries, ref progresses) || !TryRead(queue, out link))
                break;
            isBusy |= progresses;
            if (progresses)
                ring = default;
        }

        return isBusy;
    }

    // The descriptors of a queue, of which each that is done gives way to the next.
    private bool WalkQueue(uint queue, ref int entries, ref bool isBusy)
    {
        if (!TryRead(queue + 4, out uint element))
            return false;
        while ((element & Terminates) == 0 && entries-- > 0 && _frameRoom > 0)
        {
            uint address = element & AddressOf;
            if ((element & IsQueue) != 0)
            {
                // A queue in a queue: one turn of it, then on.
                return TryRead(address + 4, out uint inner) && ((inner & (Terminates | IsQueue)) != 0 || RunElement(address, inner & AddressOf, ref isBusy, out _));
            }

            if (!RunElement(queue, address, ref isBusy, out uint? next))
                return false;
            if (next is not uint following || (following & IsDepthFirst) == 0)
                return true;
            element = following;
        }

        return true;
    }

    // One descriptor at the head of a queue; when it is done the queue's element becomes the next.
    private bool RunElement(uint queue, uint address, ref bool isBusy, out uint? next)
    {
        next = null;
        if (!TryReadTransfer(address, out UhciTransfer transfer))
            return false;
        switch (Transact(address, transfer, ref isBusy))
        {
            case Outcome.Failed:
                return false;
            case Outcome.Done:
                next = transfer.Link;
                return TryWrite(queue + 4, transfer.Link);
            default:
                return true;
        }
    }

    private Outcome Transact(uint at, UhciTransfer transfer, ref bool isBusy)
    {
        if (!transfer.IsActive)
            return Outcome.Waits;
        if (!transfer.IsValid)
        {
            Stop(ProcessError);
            return Outcome.Failed;
        }

        int actual = 0;
        UsbHandshake answer = UsbHandshake.None;
        bool babbles = false;
        if (Find(transfer.Address) is IUsbDevice device)
        {
            if (transfer.Pid == UhciTransfer.InPid)
            {
                answer = device.Send(transfer.Endpoint, out ReadOnlySpan<byte> packet);
                babbles = packet.Length > transfer.Length;
                actual = babbles ? 0 : packet.Length;
                if (actual > 0 && !TryWrite(transfer.Buffer, packet))
                    return Outcome.Failed;
            }
            else
            {
                actual = transfer.Length;
                if (!TryRead(transfer.Buffer, _packet.AsSpan(0, actual)))
                    return Outcome.Failed;
                answer = device.Receive(transfer.Endpoint, transfer.Pid == UhciTransfer.SetupPid, _packet.AsSpan(0, actual));
            }
        }

        _frameRoom -= TransactionOverhead + actual;
        return Complete(at, transfer, babbles ? UsbHandshake.Stall : answer, actual, babbles, ref isBusy);
    }

    private Outcome Complete(uint at, UhciTransfer transfer, UsbHandshake answer, int actual, bool babbles, ref bool isBusy)
    {
        uint status = transfer.Status & ~UhciTransfer.Errors;
        bool isShort = false;
        switch (answer)
        {
            case UsbHandshake.Nak:
                status |= UhciTransfer.Nak;
                // One that waits since long is left as it is, so that its page isn't written in each frame.
                return status == transfer.Status || TryWrite(at + 4, status) ? Outcome.Waits : Outcome.Failed;
            case UsbHandshake.Ack:
                isBusy = true;
                status = (status & ~(UhciTransfer.Active | UhciTransfer.ActualLength)) | ((uint)(actual - 1) & UhciTransfer.ActualLength);
                isShort = transfer.Pid == UhciTransfer.InPid && actual < transfer.Length && (status & UhciTransfer.ShortPacketDetect) != 0;
                _hasShort |= isShort;
                break;
            case UsbHandshake.Stall:
                isBusy = true;
                status = (status & ~UhciTransfer.Active) | UhciTransfer.Stalled | (babbles ? UhciTransfer.Babble : 0);
                _status |= ErrorInterrupt;
                break;
            default:
                isBusy = true;
                status |= UhciTransfer.Timeout;
                // A count of zero lets it try for ever.
                if ((status & UhciTransfer.ErrorCount) == 0)
                    return TryWrite(at + 4, status) ? Outcome.Waits : Outcome.Failed;
                status -= 1u << 27;
                if ((status & UhciTransfer.ErrorCount) != 0)
                    return TryWrite(at + 4, status) ? Outcome.Waits : Outcome.Failed;
                status = (status & ~UhciTransfer.Active) | UhciTransfer.Stalled;
                _status |= ErrorInterrupt;
                break;
        }

        if ((status & UhciTransfer.InterruptOnComplete) != 0)
            _hasCompleted = true;
        if (_hasCompleted || _hasShort)
            _status |= Interrupt;
        if (!TryWrite(at + 4, status))
            return Outcome.Failed;
        return answer == UsbHandshake.Ack && !isShort ? Outcome.Done : Outcome.Waits;
    }

    private IUsbDevice? Find(int address)
    {
        foreach (UhciPort port in _ports)
        {
            if (port.Reachable is IUsbDevice device && device.Address == address)
                return device;
        }

        return null;
    }

    private void Stop(ushort reason)
    {
        _status |= reason;
        _command &= unchecked((ushort)~Run);
        _timer.Disarm();
    }

    private bool TryReadTransfer(uint address, out UhciTransfer transfer)
    {
        Span<byte> bytes = stackalloc byte[UhciTransfer.Size];
        bool isThere = TryRead(address, bytes);
        transfer = new UhciTransfer(
            BinaryPrimitives.ReadUInt32LittleEndian(bytes), BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]));
        return isThere;
    }

    private bool TryRead(uint address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        bool isThere = TryRead(address, bytes);
        value = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return isThere;
    }

    private bool TryRead(uint address, Span<byte> bytes)
    {
        if (_platform.Memory.TryRead(address, bytes))
            return true;
        bytes.Clear();
        Stop(SystemError);
        return false;
    }

    private bool TryWrite(uint address, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return TryWrite(address, bytes);
    }

    private bool TryWrite(uint address, ReadOnlySpan<byte> bytes)
    {
        if (_platform.Memory.TryWrite(address, bytes))
            return true;
        Stop(SystemError);
        return false;
    }
}
