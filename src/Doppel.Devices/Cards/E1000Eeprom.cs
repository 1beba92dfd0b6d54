using Doppel.Devices.Network;
using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <summary>
/// The card's EEPROM: 64 words behind a Microwire interface of four wires (manual, 5.6 and 13.4.3), of which only reading is
/// supported.
/// </summary>
internal sealed class E1000Eeprom
{
    private const int Words = 64;
    private const uint Clock = 1, Select = 2, DataIn = 4, DataOut = 8, Request = 0x40, Grant = 0x80, Present = 0x100;
    private const int CommandBits = 9;
    private readonly ushort[] _words = new ushort[Words];
    private uint _wires;
    private uint _shifted;
    private int _bits;
    private bool _reads;
    private int _out;

    internal E1000Eeprom(MacAddress address)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        address.Write(bytes);
        for (int i = 0; i < 3; i++)
            _words[i] = (ushort)(bytes[2 * i] | (bytes[(2 * i) + 1] << 8));
        // Initialization control 1, subsystem, device and vendor; what is not used is all ones.
        _words.AsSpan(3).Fill(ushort.MaxValue);
        (_words[0x0A], _words[0x0B], _words[0x0C], _words[0x0D], _words[0x0E], _words[0x0F]) = (0x4408, 0x001E, 0x8086, 0x100E, 0x8086, 0x3040);
        const ushort Sum = 0xBABA;
        _words[Words - 1] = 0;
        _words[Words - 1] = (ushort)(Sum - _words.Sum(word => word));
    }

    /// <summary>A word.</summary>
    internal ushort this[int word] => _words[word % Words];

    /// <summary>The control register.</summary>
    internal uint Wires
    {
        get => _wires | Present | ((_wires & Request) != 0 ? Grant : 0) | (!_reads || ((_words[(_out >> 4) & (Words - 1)] >> (15 - (_out & 15))) & 1) != 0 ? DataOut : 0);
        set
        {
            uint old = _wires;
            _wires = value & (Clock | Select | DataIn | Request);
            if ((_wires & Select) == 0)
                return;
            if ((old & Select) == 0)
                (_shifted, _bits, _reads, _out) = (0, 0, false, 0);
            if ((old & ~_wires & Clock) != 0)
            {
                // A bit goes out with each falling edge.
                if (_reads)
                    _out = (_out + 1) & ((Words * 16) - 1);
            }
            else if ((_wires & ~old & Clock) != 0 && _bits < CommandBits)
            {
                _shifted = (_shifted << 1) | ((_wires & DataIn) != 0 ? 1u : 0);
                // Zeros before the start bit don't count.
                if (_shifted != 0 && ++_bits == CommandBits && _shifted >> 6 == 6)
                    (_reads, _out) = (true, (((int)(_shifted & (Words - 1)) << 4) - 1) & ((Words * 16) - 1));
            }
        }
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_wires);
        writer.Write(_shifted);
        writer.Write(_bits);
        writer.Write(_reads);
        writer.Write(_out);
    }

    internal Action ReadState(StateReader reader, string section)
    {
        uint wires = reader.ReadUInt32(), shifted = reader.ReadUInt32();
        int bits = (int)StateCheck.Range(section, "bits", reader.ReadInt32(), 0, CommandBits);
        bool reads = reader.ReadBool();
        int place = (int)StateCheck.Range(section, "place", reader.ReadInt32(), 0, (Words * 16) - 1);
        return () => (_wires, _shifted, _bits, _reads, _out) = (wires, shifted, bits, reads, place);
    }
}
