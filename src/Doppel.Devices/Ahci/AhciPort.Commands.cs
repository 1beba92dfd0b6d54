using System.Buffers.Binary;
using Doppel.Devices.Ata;

namespace Doppel.Devices.Ahci;

/// <content>Commands that the drive executes one after the other, and the frames that tell of them (Serial ATA 3.0, 10.3).</content>
internal sealed partial class AhciPort
{
    private const int RegisterFrameAt = 0x40, PioFrameAt = 0x20, DeviceBitsAt = 0x58;
    private const byte ToDevice = 0x27, FromDevice = 0x34, PioFrame = 0x5F, DeviceBitsFrame = 0xA1;
    private const byte CommandBit = 0x80, InterruptBit = 0x40, ToHostBit = 0x20, ResetBit = 4;
    private const byte ReadQueued = 0x60, WriteQueued = 0x61, Packet = 0xA0;
    private const int PacketBytes = 12;

    // Commands of the list that were begun and are still issued.
    private uint _taken;

    private void Begin(int slot)
    {
        uint bit = 1u << slot;
        if (AhciCommand.Read(_memory, _list, slot) is not AhciCommand command)
        {
            _isStopped = true;
            Interrupt(HostDataError);
            return;
        }

        if (command.Frame[0] != ToDevice)
        {
            _issued &= ~bit;
            return;
        }

        if ((command.Frame[1] & CommandBit) == 0)
        {
            BeginControl(command);
            return;
        }

        if (command.Frame[2] is ReadQueued or WriteQueued && _drive is AtaDisk disk)
        {
            BeginQueued(command, disk);
            return;
        }

        // The drive takes a command that isn't queued only when it has no queued ones (ATA8-ACS, 4.16).
        if (_busy.Count + _again.Count != 0)
        {
            _taken |= bit;
            FailQueue(command);
            return;
        }

        _current = command;
        _taken |= bit;
        GiveToDrive(command);
    }

    /// <summary>A frame that writes the control register: a software reset begins, or ends.</summary>
    private void BeginControl(AhciCommand command)
    {
        _issued &= ~(1u << command.Slot);
        _isPumping = true;
        bool ends = (command.Frame[15] & ResetBit) == 0 && (_drive!.Status & AtaDevice.Busy) != 0 && _drive.Phase == AtaPhase.Idle;
        if ((command.Frame[15] & ResetBit) != 0)
            _drive!.BeginReset();
        else if (ends)
            _drive!.SoftReset();
        _isPumping = false;
        ShowTaskFile();
        if (ends)
            SendSignature();
    }

    private void GiveToDrive(AhciCommand command)
    {
        byte[] frame = command.Frame;
        AtaTaskFile registers = _drive!.Registers;
        // Both halves of what 48-bit commands use twice, the upper first.
        foreach ((int register, int upper, int lower) in ((int, int, int)[])[
            (AtaTaskFile.FeaturesRegister, 11, 3), (AtaTaskFile.CountRegister, 13, 12),
            (AtaTaskFile.LowRegister, 8, 4), (AtaTaskFile.MiddleRegister, 9, 5), (AtaTaskFile.HighRegister, 10, 6)])
        {
            registers.Write(register, frame[upper]);
            registers.Write(register, frame[lower]);
        }

        registers.Write(AtaTaskFile.DeviceRegister, frame[7]);
        _taskFile |= AtaDevice.Busy;
        _isPumping = true;
        _drive.Execute(frame[2]);
        _isPumping = false;
        Pump();
    }

    /// <summary>Moves the blocks that the drive offers, until it works by itself or is done.</summary>
    private void Pump()
    {
        if (_isPumping || _current is not AhciCommand command || _drive is null)
            return;
        _isPumping = true;
        try
        {
            while (_drive.Phase is not (AtaPhase.Medium or AtaPhase.Idle))
                MoveBlock(command);
        }
        finally
        {
            _isPumping = false;
        }

        ShowTaskFile();
        if (_drive.Phase == AtaPhase.Idle && (_drive.Status & AtaDevice.Busy) == 0)
            End(command);
    }

    private void MoveBlock(AhciCommand command)
    {
        Span<byte> block = new byte[_drive!.BlockLeft];
        switch (_drive.Phase)
        {
            case AtaPhase.DataOut when command.Frame[2] == Packet && !command.IsPacketSent:
                command.IsPacketSent = true;
                _drive.WriteData(command.Packet.AsSpan(0, PacketBytes));
                break;
            case AtaPhase.DataIn:
                SendPioSetup(block.Length, toHost: true);
                _drive.ReadData(block);
                command.Write(block);
                break;
            case AtaPhase.DataOut:
                SendPioSetup(block.Length, toHost: false);
                // What the regions lack is zeros.
                _ = command.Read(block);
                _drive.WriteData(block);
                break;
            default:
                // The host was not ready before there was a command, or has no more to give.
                AtaPhase phase = _drive.Phase;
                int left = _drive.BlockLeft;
                _drive.ContinueDma();
                if (_drive.Phase == phase && _drive.BlockLeft == left)
                    _drive.AbortDma();
                break;
        }
    }

    private void End(AhciCommand command)
    {
        command.StoreCount();
        uint bit = 1u << command.Slot;
        _current = null;
        _taken &= ~bit;
        bool failed = (_drive!.Status & AtaDevice.ErrorBit) != 0;
        SendRegisters(interrupts: true);
        uint reasons = RegisterFrame | (command.HasOverflowed ? Overflow : 0) | (command.HasFailed ? HostDataError : 0);
        if (failed)
        {
            // The list stands still until the driver starts it again; the command stays issued (6.2.2.1).
            _isStopped = true;
            reasons |= TaskFileError;
        }
        else
        {
            _issued &= ~bit;
        }

        Interrupt(reasons);
        Continue();
    }

    private void SendRegisters(bool interrupts)
    {
        Span<byte> frame = stackalloc byte[20];
        frame.Clear();
        (frame[0], frame[1]) = (FromDevice, interrupts ? InterruptBit : (byte)0);
        FillRegisters(frame);
        Send(RegisterFrameAt, frame);
    }

    private void SendPioSetup(int length, bool toHost)
    {
        Span<byte> frame = stackalloc byte[20];
        frame.Clear();
        (frame[0], frame[1]) = (PioFrame, (byte)(InterruptBit | (toHost ? ToHostBit : 0)));
        FillRegisters(frame);
        frame[15] = AtaDevice.Ready | AtaDevice.SeekComplete;
        BinaryPrimitives.WriteUInt16LittleEndian(frame[16..], (ushort)length);
        Send(PioFrameAt, frame);
        _interrupts |= PioSetup;
    }

    private void FillRegisters(Span<byte> frame)
    {
        AtaTaskFile registers = _drive!.Registers;
        (frame[2], frame[3]) = (_drive.Status, _drive.Error);
        (frame[4], frame[5], frame[6], frame[7]) = (registers.Low, registers.Middle, registers.High, registers.Device);
        (frame[8], frame[9], frame[10]) = (registers.Read(AtaTaskFile.LowRegister, true), registers.Read(AtaTaskFile.MiddleRegister, true), registers.Read(AtaTaskFile.HighRegister, true));
        (frame[12], frame[13]) = (registers.Count, registers.Read(AtaTaskFile.CountRegister, true));
    }

    private void Send(int at, ReadOnlySpan<byte> frame)
    {
        if ((_command & ReceiveBit) != 0 && _isBusMaster())
            _ = _memory.TryWrite(_received + (uint)at, frame);
    }
}
