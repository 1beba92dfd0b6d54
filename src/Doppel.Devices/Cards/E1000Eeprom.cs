using Doppel.Devices.Network;
using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <summary>The card's EEPROM (manual, 5.6) and the register with its wires (13.4.3).</summary>
internal sealed class E1000Eeprom
{
    private const uint Clock = 1, Select = 2, DataIn = 4, DataOut = 8, Request = 0x40, Grant = 0x80, Present = 0x100;
    private readonly MicrowireEeprom _chip = new();
    private uint _wires;

    internal E1000Eeprom(MacAddress address)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        address.Write(bytes);
        // Initialization control 1, subsystem, device and vendor; what is not used is all ones.
        _chip.Words.Fill(ushort.MaxValue);
        for (int i = 0; i < 3; i++)
            _chip[i] = (ushort)(bytes[2 * i] | (bytes[(2 * i) + 1] << 8));
        (_chip[0x0A], _chip[0x0B], _chip[0x0C], _chip[0x0D], _chip[0x0E], _chip[0x0F]) = (0x4408, 0x001E, 0x8086, 0x100E, 0x8086, 0x3040);
        const ushort Sum = 0xBABA;
        const int Last = MicrowireEeprom.WordCount - 1;
        int sum = 0;
        foreach (ushort word in _chip.Words[..Last])
            sum += word;
        _chip[Last] = (ushort)(Sum - sum);
    }

    /// <summary>A word.</summary>
    internal ushort this[int word] => _chip[word];

    /// <summary>The control register.</summary>
    internal uint Wires
    {
        get => _wires | Present | ((_wires & Request) != 0 ? Grant : 0) | (_chip.Output ? DataOut : 0);
        set
        {
            _wires = value & (Clock | Select | DataIn | Request);
            _chip.Drive((_wires & Select) != 0, (_wires & Clock) != 0, (_wires & DataIn) != 0);
        }
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(_wires);
        _chip.Save(writer);
    }

    internal Action ReadState(StateReader reader, string section)
    {
        uint wires = reader.ReadUInt32();
        Action<bool, bool> chip = _chip.ReadState(reader, section);
        return () =>
        {
            _wires = wires;
            chip((wires & Select) != 0, (wires & Clock) != 0);
        };
    }
}
