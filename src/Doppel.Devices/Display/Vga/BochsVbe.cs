using Doppel.Machine.State;

namespace Doppel.Devices.Display.Vga;

/// <summary>
/// The registers of Bochs's VBE extensions, interface B0C5h: a mode is a size, a depth and an enable bit (Bochs
/// vbe_display_api.txt). Plain data; the controller acts on what changes.
/// </summary>
internal sealed class BochsVbe
{
    internal const int MaximumWidth = 2560, MaximumHeight = 1600, RegisterCount = 11;
    internal const int Id = 0, Width = 1, Height = 2, Depth = 3, Enable = 4, Bank = 5, VirtualWidth = 6, VirtualHeight = 7, OffsetX = 8, OffsetY = 9, MemoryUnits = 10;
    internal const ushort Enabled = 1, ReadsCapabilities = 2, WideDac = 0x20, Linear = 0x40, KeepsMemory = 0x80;
    private const ushort OldestId = 0xB0C0, NewestId = 0xB0C5;
    private readonly int _memory;
    private readonly ushort[] _registers = new ushort[RegisterCount];

    /// <param name="memory">Bytes of the adapter: a power of two from 4 MiB on.</param>
    internal BochsVbe(int memory = 16 << 20)
    {
        _memory = memory;
        Reset();
    }

    internal ushort Index { get; set; }

    internal bool IsEnabled => (_registers[Enable] & Enabled) != 0;

    internal bool HasWideDac => (_registers[Enable] & WideDac) != 0;

    internal int PixelWidth => _registers[Width];

    internal int PixelHeight => _registers[Height];

    /// <summary>Bits of a pixel: 4, 8, 15, 16, 24 or 32.</summary>
    internal int BitsPerPixel => _registers[Depth];

    /// <summary>Bytes from a row to the next; with 4 bits a pixel, of all four planes.</summary>
    internal int BytesPerRow => RowBytes(_registers[VirtualWidth]);

    /// <summary>First byte that is shown.</summary>
    internal int Start => (_registers[OffsetY] * BytesPerRow) + (BitsPerPixel == 4 ? _registers[OffsetX] / 8 * 4 : _registers[OffsetX] * PixelBytes);

    /// <summary>Byte that the window at A0000h begins with.</summary>
    internal int BankOffset => _registers[Bank] << 16;

    private int PixelBytes => (BitsPerPixel + 7) / 8;

    internal void Reset()
    {
        Array.Clear(_registers);
        _registers[Id] = NewestId;
        _registers[Depth] = 8;
        _registers[MemoryUnits] = (ushort)(_memory >> 16);
        Index = 0;
    }

    internal ushort Read() => Read(Index);

    internal ushort Read(int index)
    {
        if ((_registers[Enable] & ReadsCapabilities) != 0)
        {
            switch (index)
            {
                case Width:
                    return MaximumWidth;
                case Height:
                    return MaximumHeight;
                case Depth:
                    return 32;
            }
        }

        return index < RegisterCount ? _registers[index] : (ushort)0;
    }

    /// <summary>Writes a register.</summary>
    /// <returns>True when a mode was turned on just now.</returns>
    internal bool Write(int index, ushort value)
    {
        switch (index)
        {
            case Id when value is >= OldestId and <= NewestId:
                _registers[Id] = value;
                break;
            case Width or Height or Depth or VirtualWidth or OffsetX or OffsetY:
                _registers[index] = value;
                if (IsEnabled)
                    Settle();
                break;
            case Bank:
                _registers[Bank] = (ushort)(value & ((_memory >> 16) - 1));
                break;
            case Enable:
                bool begins = (value & Enabled) != 0 && !IsEnabled;
                _registers[Enable] = (ushort)(value & (Enabled | ReadsCapabilities | WideDac | Linear | KeepsMemory));
                if (begins)
                {
                    _registers[VirtualWidth] = _registers[OffsetX] = _registers[OffsetY] = 0;
                    Settle();
                }

                if ((value & Enabled) == 0)
                    _registers[Bank] = 0;
                return begins;
        }

        return false;
    }

    internal BochsVbe Clone()
    {
        var copy = new BochsVbe(_memory);
        copy.CopyFrom(this);
        return copy;
    }

    internal void CopyFrom(BochsVbe other)
    {
        other._registers.CopyTo(_registers, 0);
        Index = other.Index;
    }

    internal void Save(StateWriter writer)
    {
        writer.Write(Index);
        foreach (ushort register in _registers)
            writer.Write(register);
    }

    internal void Restore(StateReader reader, string section)
    {
        Index = reader.ReadUInt16();
        for (int i = 0; i < RegisterCount; i++)
            _registers[i] = reader.ReadUInt16();
        if (_registers[MemoryUnits] != _memory >> 16)
            throw new InvalidDataException($"section {section}: the saved display has {_registers[MemoryUnits] * 64} KiB of memory; this one has {_memory >> 10}");
        _ = StateCheck.Range(section, "bank", _registers[Bank], 0, (_memory >> 16) - 1);
        if (IsEnabled)
            Settle();
    }

    // A mode that can't be becomes the nearest that can.
    private void Settle()
    {
        if (_registers[Depth] is not (4 or 8 or 15 or 16 or 24 or 32))
            _registers[Depth] = 8;
        _registers[Width] = (ushort)Math.Clamp(_registers[Width] & ~7, 8, MaximumWidth);
        _registers[VirtualWidth] = (ushort)Math.Clamp(_registers[VirtualWidth] & ~7, _registers[Width], 16384);
        int rows = Math.Min(_memory / BytesPerRow, ushort.MaxValue);
        _registers[VirtualHeight] = (ushort)rows;
        _registers[Height] = (ushort)Math.Clamp((int)_registers[Height], 1, Math.Min(MaximumHeight, rows));
        _registers[OffsetX] = (ushort)Math.Min(_registers[OffsetX], _registers[VirtualWidth] - _registers[Width]);
        _registers[OffsetY] = (ushort)Math.Min(_registers[OffsetY], rows - _registers[Height]);
    }

    private int RowBytes(int width) => BitsPerPixel == 4 ? width / 8 * 4 : width * PixelBytes;
}
