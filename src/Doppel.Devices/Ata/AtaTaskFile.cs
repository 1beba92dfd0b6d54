using Doppel.Machine.State;

namespace Doppel.Devices.Ata;

/// <summary>
/// A drive's command block registers (ATA8-ACS, 6.2 and ATA/ATAPI-7 volume 2, chapter 5). The ones that 48-bit commands use
/// twice remember what was written before.
/// </summary>
public sealed class AtaTaskFile
{
    /// <summary>Number of <see cref="Features"/>, <see cref="Count"/>, <see cref="Low"/>, <see cref="Middle"/>, <see cref="High"/> and <see cref="Device"/> on the bus.</summary>
    public const int FeaturesRegister = 1, CountRegister = 2, LowRegister = 3, MiddleRegister = 4, HighRegister = 5, DeviceRegister = 6;

    private readonly byte[] _current = new byte[8];
    private readonly byte[] _previous = new byte[8];

    /// <summary>Features of the next command.</summary>
    public byte Features
    {
        get => _current[FeaturesRegister];
        set => _current[FeaturesRegister] = value;
    }

    /// <summary>Sector count; interrupt reason of packet commands.</summary>
    public byte Count
    {
        get => _current[CountRegister];
        set => _current[CountRegister] = value;
    }

    /// <summary>Sector number, or bits 7 to 0 of the address.</summary>
    public byte Low
    {
        get => _current[LowRegister];
        set => _current[LowRegister] = value;
    }

    /// <summary>Cylinder low, bits 15 to 8 of the address, or byte count low.</summary>
    public byte Middle
    {
        get => _current[MiddleRegister];
        set => _current[MiddleRegister] = value;
    }

    /// <summary>Cylinder high, bits 23 to 16 of the address, or byte count high.</summary>
    public byte High
    {
        get => _current[HighRegister];
        set => _current[HighRegister] = value;
    }

    /// <summary>Head or bits 27 to 24 of the address, drive (bit 4), LBA (bit 6).</summary>
    public byte Device
    {
        get => _current[DeviceRegister];
        set => _current[DeviceRegister] = value;
    }

    /// <summary>The address of a 28-bit command.</summary>
    public ulong Lba28 => ((ulong)(Device & 15) << 24) | ((ulong)High << 16) | ((ulong)Middle << 8) | Low;

    /// <summary>The address of a 48-bit command.</summary>
    public ulong Lba48 =>
        ((ulong)_previous[HighRegister] << 40) | ((ulong)_previous[MiddleRegister] << 32) | ((ulong)_previous[LowRegister] << 24)
        | ((ulong)High << 16) | ((ulong)Middle << 8) | Low;

    /// <summary>The count of a 48-bit command, as written: 0 is 65,536.</summary>
    public int Count16 => (_previous[CountRegister] << 8) | Count;

    /// <summary>The features of a 48-bit command.</summary>
    public int Features16 => (_previous[FeaturesRegister] << 8) | Features;

    /// <summary>Reads a register, 2 to 6.</summary>
    /// <param name="register">Its number.</param>
    /// <param name="previous">True for what was written before (HOB).</param>
    public byte Read(int register, bool previous) => previous && register != DeviceRegister ? _previous[register] : _current[register];

    /// <summary>The host's write of a register, 1 to 6.</summary>
    public void Write(int register, byte value)
    {
        _previous[register] = _current[register];
        _current[register] = value;
    }

    /// <summary>Shows an address as a command with 48 bits does.</summary>
    public void SetLba48(ulong address)
    {
        (Low, Middle, High) = ((byte)address, (byte)(address >> 8), (byte)(address >> 16));
        (_previous[LowRegister], _previous[MiddleRegister], _previous[HighRegister]) = ((byte)(address >> 24), (byte)(address >> 32), (byte)(address >> 40));
    }

    /// <summary>Shows the count as a command with 48 bits does.</summary>
    public void SetCount16(int count) => (Count, _previous[CountRegister]) = ((byte)count, (byte)(count >> 8));

    /// <summary>All registers zero.</summary>
    public void Clear()
    {
        Array.Clear(_current);
        Array.Clear(_previous);
    }

    /// <summary>Writes the registers.</summary>
    internal void Save(StateWriter writer)
    {
        writer.Write(_current.AsSpan());
        writer.Write(_previous.AsSpan());
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <returns>Takes it over.</returns>
    internal Action ReadState(StateReader reader, string section)
    {
        byte[] current = StateCheck.Length(section, "registers", reader.ReadBytes(8), 8), previous = StateCheck.Length(section, "registers", reader.ReadBytes(8), 8);
        return () =>
        {
            current.CopyTo(_current, 0);
            previous.CopyTo(_previous, 0);
        };
    }
}
