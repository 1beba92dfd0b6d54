using System.Buffers.Binary;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Ide;

/// <summary>
/// The bus master of one channel (Programming Interface for Bus Master IDE Controller, revision 1.0): it moves data between
/// a drive and the regions of memory that a table of descriptors names. The machine's I/O lock guards it.
/// </summary>
internal sealed class BusMasterIde
{
    private const byte StartBit = 1, ToMemoryBit = 8;
    private const byte ActiveBit = 1, ErrorBit = 2, InterruptBit = 4, DriveBits = 0x60;
    private const int DescriptorLength = 8;

    // A table has at most 64 KiB (3.1), and begins anew behind that.
    private const uint TableEnd = 0x1_0000;

    private readonly GuestMemory _memory;
    private readonly IdeChannel _channel;
    private readonly Func<bool> _isBusMaster;
    private byte _command;
    private byte _status;
    private uint _table;

    // The descriptor in use: what is left of it, and where the next is.
    private uint _next;
    private uint _address;
    private int _left;
    private bool _isLast;

    /// <summary>Gives a channel DMA.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="isBusMaster">True while the function may reach memory.</param>
    internal BusMasterIde(GuestMemory memory, IdeChannel channel, Func<bool> isBusMaster)
    {
        _memory = memory;
        _channel = channel;
        _isBusMaster = isBusMaster;
        channel.BusMaster = this;
    }

    private bool IsActive => (_status & ActiveBit) != 0 && (_command & StartBit) != 0 && _isBusMaster();

    /// <summary>The state after a hard reset.</summary>
    internal void Reset()
    {
        (_command, _status, _table, _next, _address, _left, _isLast) = (0, 0, 0, 0, 0, 0, false);
    }

    /// <summary>Reads one of eight bytes of registers.</summary>
    internal byte Read(int offset) => offset switch
    {
        0 => _command,
        2 => _status,
        >= 4 => (byte)(_table >> (8 * (offset - 4))),
        _ => 0,
    };

    /// <summary>Writes one of eight bytes of registers.</summary>
    internal void Write(int offset, byte value)
    {
        switch (offset)
        {
            case 0:
                Command(value);
                break;
            case 2:
                // The interrupt and the error are cleared by ones; the drives' bits belong to the host.
                _status = (byte)((_status & ~DriveBits & ~(value & (InterruptBit | ErrorBit))) | (value & DriveBits));
                break;
            case >= 4 when (_status & ActiveBit) == 0:
                int shift = 8 * (offset - 4);
                _table = ((_table & ~(0xFFu << shift)) | ((uint)value << shift)) & ~3u;
                break;
            default:
                break;
        }
    }

    /// <summary>The function may reach memory now.</summary>
    internal void Continue()
    {
        if (IsActive)
            _channel.ContinueDma();
    }

    /// <summary>The drive has asked for an interrupt: what it had to send is in memory.</summary>
    internal void NoteInterrupt() => _status |= InterruptBit;

    /// <summary>Puts data of the drive into memory.</summary>
    /// <returns>Bytes taken.</returns>
    internal int Take(ReadOnlySpan<byte> data)
    {
        int done = 0;
        while (done < data.Length && NextPiece(data.Length - done, toMemory: true) is > 0 and int part)
        {
            if (!_memory.TryWrite(_address, data.Slice(done, part)))
            {
                Fail();
                break;
            }

            done += part;
            Advance(part);
        }

        return done;
    }

    /// <summary>Fetches data for the drive.</summary>
    /// <returns>Bytes given.</returns>
    internal int Give(Span<byte> data)
    {
        int done = 0;
        while (done < data.Length && NextPiece(data.Length - done, toMemory: false) is > 0 and int part)
        {
            if (!_memory.IsRam(_address, (uint)part) || !_memory.TryRead(_address, data.Slice(done, part)))
            {
                Fail();
                break;
            }

            done += part;
            Advance(part);
        }

        return done;
    }

    /// <summary>Writes the state.</summary>
    internal void Save(StateWriter writer)
    {
        writer.Write(_command);
        writer.Write(_status);
        writer.Write(_table);
        writer.Write(_next);
        writer.Write(_address);
        writer.Write(_left);
        writer.Write(_isLast);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    internal Action ReadState(StateReader reader, string section)
    {
        byte command = reader.ReadByte(), status = reader.ReadByte();
        uint table = reader.ReadUInt32() & ~3u, next = reader.ReadUInt32(), address = reader.ReadUInt32();
        int left = (int)StateCheck.Range(section, "bytes of a descriptor", reader.ReadInt32(), 0, 0x1_0000);
        bool isLast = reader.ReadBool();
        return () => (_command, _status, _table, _next, _address, _left, _isLast) = (command, status, table, next, address, left, isLast);
    }

    private void Command(byte value)
    {
        byte old = _command;
        _command = (byte)(value & (StartBit | ToMemoryBit));
        if ((value & StartBit) == 0)
        {
            _status &= unchecked((byte)~ActiveBit);
            return;
        }

        if ((old & StartBit) != 0)
            return;
        _status |= ActiveBit;
        (_next, _left, _isLast) = (_table, 0, false);
        Continue();
    }

    /// <summary>How many bytes may be moved at the address now; 0 when the bus master stands still.</summary>
    private int NextPiece(int wanted, bool toMemory)
    {
        // Without a direction that fits, data would go the wrong way.
        if (!IsActive || (_command & ToMemoryBit) != 0 != toMemory)
            return 0;
        if (_left == 0)
        {
            if (_isLast)
            {
                _status &= unchecked((byte)~ActiveBit);
                return 0;
            }

            Span<byte> descriptor = stackalloc byte[DescriptorLength];
            if (!_memory.TryRead(_next, descriptor))
            {
                Fail();
                return 0;
            }

            _address = BinaryPrimitives.ReadUInt32LittleEndian(descriptor) & ~1u;
            int count = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[4..]) & ~1;
            _left = count == 0 ? 0x1_0000 : count;
            _isLast = (descriptor[7] & 0x80) != 0;
            _next = (_next & ~(TableEnd - 1)) | ((_next + DescriptorLength) & (TableEnd - 1));
        }

        return Math.Min(wanted, _left);
    }

    private void Advance(int count)
    {
        _address += (uint)count;
        _left -= count;
        // The whole table used up ends the transfer, though the drive may have more (3.1).
        if (_left == 0 && _isLast)
            _status &= unchecked((byte)~ActiveBit);
    }

    // As on the bus, where nobody answers: a master abort.
    private void Fail()
    {
        _status = (byte)((_status | ErrorBit) & ~ActiveBit);
        _channel.AbortDma();
    }
}
