using Doppel.Machine.State;

namespace Doppel.Devices.Cards;

/// <summary>The transceiver of the 82540EM (manual, 13.5; IEEE 802.3, 22.2.4), whose link has a gigabit whenever it is there.</summary>
internal sealed class E1000Phy
{
    private const int Control = 0, Status = 1, Identifier1 = 2, Identifier2 = 3, Advertised = 4, Partner = 5, GigabitControl = 9, GigabitStatus = 10, Specific = 0x10, SpecificStatus = 0x11, Extended = 0x14;
    private const ushort ResetBit = 0x8000, RestartNegotiation = 0x0200;
    private readonly ushort[] _registers = new ushort[32];

    internal E1000Phy() => Reset();

    internal void Reset()
    {
        Array.Clear(_registers);
        (_registers[Control], _registers[Advertised], _registers[GigabitControl], _registers[Specific], _registers[Extended]) = (0x1140, 0x0DE1, 0x0E00, 0x0360, 0x0D60);
    }

    internal ushort Read(int register, bool hasLink) => register switch
    {
        // Link, negotiation complete; a gigabit, full duplex, resolved.
        Status => (ushort)(hasLink ? 0x796D : 0x7949),
        Identifier1 => 0x0141,
        Identifier2 => 0x0C20,
        Partner => (ushort)(hasLink ? 0x45E1 : 0),
        GigabitStatus => (ushort)(hasLink ? 0x3C00 : 0),
        SpecificStatus => (ushort)(hasLink ? 0xAC08 : 0x0008),
        _ => _registers[register],
    };

    /// <summary>Writes a register.</summary>
    /// <returns>True when the link has been negotiated anew.</returns>
    internal bool Write(int register, ushort value)
    {
        if (register is Status or Identifier1 or Identifier2 or Partner or GigabitStatus or SpecificStatus)
            return false;
        if (register == Control && (value & ResetBit) != 0)
        {
            Reset();
            return true;
        }

        _registers[register] = register == Control ? (ushort)(value & ~RestartNegotiation) : value;
        return register == Control && (value & RestartNegotiation) != 0;
    }

    internal void Save(StateWriter writer)
    {
        foreach (ushort register in _registers)
            writer.Write(register);
    }

    internal Action ReadState(StateReader reader)
    {
        ushort[] registers = [.. _registers.Select(_ => reader.ReadUInt16())];
        return () => registers.CopyTo(_registers, 0);
    }
}
