using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// One 8237A DMA controller (Intel 8237A data sheet) as a PC has it: four channels whose peripherals ask it to move data. There
/// is no transfer from memory to memory: the board does not wire it.
/// </summary>
/// <param name="memory">Guest memory.</param>
/// <param name="isWide">True for the second controller, which moves words: addresses count words, and the page has bits 23 to 17.</param>
/// <param name="page">The page register of a channel, 0 to 3.</param>
internal sealed class Dma8237(GuestMemory memory, bool isWide, Func<int, byte> page)
{
    private const int Channels = 4;
    private const byte Disabled = 4;
    private const byte Decrement = 0x20, AutoInitialize = 0x10, KindMask = 0x0C, ToMemory = 4, FromMemory = 8, Verify = 0, ModeMask = 0xC0, CascadeMode = 0xC0;

    private readonly ushort[] _baseAddress = new ushort[Channels];
    private readonly ushort[] _baseCount = new ushort[Channels];
    private readonly ushort[] _address = new ushort[Channels];
    private readonly ushort[] _count = new ushort[Channels];
    private readonly byte[] _mode = new byte[Channels];
    private byte _command;
    private byte _reached;
    private byte _requests;
    private byte _software;
    private byte _mask;
    private bool _isHigh;

    /// <summary>The state after power-on, and after a master clear.</summary>
    internal void Reset()
    {
        (_command, _reached, _software, _mask, _isHigh) = (0, 0, 0, 0xF, false);
    }

    /// <summary>Says whether a peripheral asks for service, which the status register shows.</summary>
    internal void SetRequest(int channel, bool asks) => _requests = (byte)(asks ? _requests | (1 << channel) : _requests & ~(1 << channel));

    /// <summary>Moves data of a peripheral to memory, or the other way.</summary>
    /// <param name="channel">Channel, 0 to 3.</param>
    /// <param name="data">The data: read or filled.</param>
    /// <param name="toMemory">True to write memory.</param>
    /// <param name="isTerminal">True when the count has run out: the peripheral sees TC with the last byte.</param>
    /// <returns>Bytes moved: fewer than all when the channel isn't programmed for this, or after the terminal count. Memory that isn't there takes and gives nothing, as on the bus.</returns>
    internal int Transfer(int channel, Span<byte> data, bool toMemory, out bool isTerminal)
    {
        int unit = isWide ? 2 : 1, done = 0;
        isTerminal = false;
        byte mode = _mode[channel];
        int kind = mode & KindMask;
        bool fits = kind == Verify || kind == (toMemory ? ToMemory : FromMemory);
        if ((_command & Disabled) != 0 || (_mask & (1 << channel)) != 0 || (mode & ModeMask) == CascadeMode || !fits)
            return 0;
        while (done + unit <= data.Length && !isTerminal)
        {
            ulong address = isWide
                ? ((ulong)(page(channel) & 0xFE) << 16) | ((ulong)_address[channel] << 1)
                : ((ulong)page(channel) << 16) | _address[channel];
            Span<byte> part = data.Slice(done, unit);
            if (kind == ToMemory)
            {
                _ = memory.TryWrite(address, part);
            }
            else if (kind == FromMemory && !memory.TryRead(address, part))
            {
                part.Fill(0xFF);
            }

            done += unit;
            _address[channel] += (mode & Decrement) != 0 ? ushort.MaxValue : (ushort)1;
            if (_count[channel]-- == 0)
            {
                isTerminal = true;
                EndOfProcess(channel);
            }
        }

        return done;
    }

    /// <summary>Reads register 0 to 15.</summary>
    internal byte Read(int register)
    {
        switch (register)
        {
            case < 8:
                ushort value = (register & 1) == 0 ? _address[register / 2] : _count[register / 2];
                return Half(value);
            case 8:
                byte status = (byte)(_reached | ((_requests | _software) << 4));
                _reached = 0;
                return status;
            case 15:
                // Readable in chip sets' controllers.
                return (byte)(_mask | 0xF0);
            default:
                // The temporary register belongs to transfers from memory to memory.
                return 0;
        }
    }

    /// <summary>Writes register 0 to 15.</summary>
    internal void Write(int register, byte value)
    {
        int bit = 1 << (value & 3);
        switch (register)
        {
            case < 8:
                int channel = register / 2;
                ref ushort target = ref (register & 1) == 0 ? ref _baseAddress[channel] : ref _baseCount[channel];
                target = _isHigh ? (ushort)((target & 0xFF) | (value << 8)) : (ushort)((target & 0xFF00) | value);
                _isHigh = !_isHigh;
                ((register & 1) == 0 ? _address : _count)[channel] = target;
                break;
            case 8:
                _command = value;
                break;
            case 9:
                _software = (byte)((value & 4) != 0 ? _software | bit : _software & ~bit);
                break;
            case 10:
                _mask = (byte)((value & 4) != 0 ? _mask | bit : _mask & ~bit);
                break;
            case 11:
                _mode[value & 3] = (byte)(value & ~3);
                break;
            case 12:
                _isHigh = false;
                break;
            case 13:
                Reset();
                break;
            case 14:
                _mask = 0;
                break;
            default:
                _mask = (byte)(value & 0xF);
                break;
        }
    }

    /// <summary>Writes the state.</summary>
    internal void Save(StateWriter writer)
    {
        for (int i = 0; i < Channels; i++)
        {
            writer.Write(_baseAddress[i]);
            writer.Write(_baseCount[i]);
            writer.Write(_address[i]);
            writer.Write(_count[i]);
            writer.Write(_mode[i]);
        }

        writer.Write(_command);
        writer.Write(_reached);
        writer.Write(_requests);
        writer.Write(_software);
        writer.Write(_mask);
        writer.Write(_isHigh);
    }

    /// <summary>Reads and checks what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    internal Action ReadState(StateReader reader, string section)
    {
        var channels = new (ushort BaseAddress, ushort BaseCount, ushort Address, ushort Count, byte Mode)[Channels];
        for (int i = 0; i < Channels; i++)
            channels[i] = (reader.ReadUInt16(), reader.ReadUInt16(), reader.ReadUInt16(), reader.ReadUInt16(), reader.ReadByte());
        byte command = reader.ReadByte();
        byte[] nibbles = [.. Enumerable.Range(0, 4).Select(_ => (byte)StateCheck.Range(section, "channels", reader.ReadByte(), 0, 15))];
        bool isHigh = reader.ReadBool();
        return () =>
        {
            for (int i = 0; i < Channels; i++)
                (_baseAddress[i], _baseCount[i], _address[i], _count[i], _mode[i]) = channels[i];
            (_command, _reached, _requests, _software, _mask, _isHigh) = (command, nibbles[0], nibbles[1], nibbles[2], nibbles[3], isHigh);
        };
    }

    private byte Half(ushort value)
    {
        byte half = (byte)(_isHigh ? value >> 8 : value);
        _isHigh = !_isHigh;
        return half;
    }

    private void EndOfProcess(int channel)
    {
        _reached |= (byte)(1 << channel);
        _software &= (byte)~(1 << channel);
        if ((_mode[channel] & AutoInitialize) != 0)
            (_address[channel], _count[channel]) = (_baseAddress[channel], _baseCount[channel]);
        else
            _mask |= (byte)(1 << channel);
    }
}
