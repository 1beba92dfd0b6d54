using System.Numerics;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// One 8259A interrupt controller as in a PC chipset: 8086 mode, trigger mode of each input from the edge/level
/// control register (Intel 8259A data sheet; 82371SB data sheet, section "Interrupt controller"). It does not know of
/// the cascade: <see cref="PicPair"/> does. Not thread-safe.
/// </summary>
public sealed class Pic8259
{
    private readonly string _name;
    private readonly byte _levelCapable;
    private byte _lines;
    private byte _latch;
    private byte _inService;
    private byte _mask = 0xFF;
    private byte _level;
    private byte _vectorBase;
    private byte _cascade;
    private byte _lowest = 7;
    private byte _expectedWord;
    private bool _initialised;
    private bool _needsIcw4;
    private bool _single;
    private bool _autoEoi;
    private bool _rotateOnAutoEoi;
    private bool _specialMask;
    private bool _fullyNested;
    private bool _readInService;
    private bool _poll;

    /// <summary>Creates a chip that has not been initialised: it asks for nothing until ICW1 to ICW4 came.</summary>
    /// <param name="name">Name for errors.</param>
    /// <param name="levelCapable">Inputs whose bit in the edge/level register can be set.</param>
    public Pic8259(string name, byte levelCapable)
    {
        _name = name;
        _levelCapable = levelCapable;
    }

    /// <summary>Interrupt request register: inputs that wait for service.</summary>
    public byte Requests => (byte)((_latch & ~_level) | (_lines & _level));

    /// <summary>In-service register.</summary>
    public byte InService => _inService;

    /// <summary>Interrupt mask register: a set bit masks the input.</summary>
    public byte Mask => _mask;

    /// <summary>First of the eight vectors (ICW2).</summary>
    public byte VectorBase => _vectorBase;

    /// <summary>Levels of the inputs.</summary>
    public byte Lines => _lines;

    /// <summary>Edge/level control register: a set bit makes the input level-triggered. Bits that the chipset lacks stay 0.</summary>
    public byte LevelTriggered
    {
        get => _level;
        set => _level = (byte)(value & _levelCapable);
    }

    /// <summary>The INT output: a request above what is in service.</summary>
    public bool Output => _initialised && Pending() >= 0;

    /// <summary>Power-on state; the levels of the inputs stay, since others drive them.</summary>
    public void Reset()
    {
        _latch = _inService = _level = _vectorBase = _cascade = _expectedWord = 0;
        _mask = 0xFF;
        _lowest = 7;
        _initialised = _needsIcw4 = _single = _autoEoi = _rotateOnAutoEoi = false;
        _specialMask = _fullyNested = _readInService = _poll = false;
    }

    /// <summary>Drives an input, 0 to 7. A request of an edge-triggered input lasts only while its line is high.</summary>
    public void SetInput(int pin, bool asserted)
    {
        byte bit = (byte)(1 << (pin & 7));
        if (asserted)
        {
            if ((_lines & bit) == 0)
                _latch |= bit;
            _lines |= bit;
        }
        else
        {
            _lines &= (byte)~bit;
            _latch &= (byte)~bit;
        }
    }

    /// <summary>The interrupt acknowledge cycle. Returns the input, 0 to 7; without a request 7, which then is spurious and not in service.</summary>
    public int Acknowledge(out bool spurious)
    {
        int pin = Pending();
        spurious = pin < 0;
        if (spurious)
            return 7;
        byte bit = (byte)(1 << pin);
        _latch &= (byte)~bit;
        if (!_autoEoi)
            _inService |= bit;
        else if (_rotateOnAutoEoi)
            _lowest = (byte)pin;
        return pin;
    }

    /// <summary>Reads port 0 (IRR or ISR) or port 1 (mask); after a poll command either returns the poll word.</summary>
    public byte Read(int port)
    {
        if (_poll)
        {
            _poll = false;
            int pin = Acknowledge(out bool none);
            return none ? (byte)0 : (byte)(0x80 | pin);
        }

        if ((port & 1) != 0)
            return _mask;
        return _readInService ? _inService : Requests;
    }

    /// <summary>Writes port 0 (ICW1, OCW2, OCW3) or port 1 (ICW2 to ICW4, OCW1).</summary>
    public void Write(int port, byte value)
    {
        if ((port & 1) != 0)
            WriteData(value);
        else if ((value & 0x10) != 0)
            BeginInitialisation(value);
        else if ((value & 0x08) != 0)
            WriteOcw3(value);
        else
            WriteOcw2(value);
    }

    /// <summary>Writes the registers; see <see cref="IStateful.Save"/>.</summary>
    public void Save(StateWriter writer)
    {
        ReadOnlySpan<byte> bytes = [_lines, _latch, _inService, _mask, _level, _vectorBase, _cascade, _lowest, _expectedWord];
        foreach (byte value in bytes)
            writer.Write(value);
        ReadOnlySpan<bool> flags = [_initialised, _needsIcw4, _single, _autoEoi, _rotateOnAutoEoi, _specialMask, _fullyNested, _readInService, _poll];
        foreach (bool value in flags)
            writer.Write(value);
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <exception cref="InvalidDataException">A field is out of range; the chip may then be partly restored, its owner replaces it whole.</exception>
    public void Restore(StateReader reader)
    {
        _lines = reader.ReadByte();
        _latch = reader.ReadByte();
        _inService = reader.ReadByte();
        _mask = reader.ReadByte();
        _level = (byte)(reader.ReadByte() & _levelCapable);
        _vectorBase = (byte)(reader.ReadByte() & 0xF8);
        _cascade = reader.ReadByte();
        _lowest = (byte)StateCheck.Range(_name, "lowest priority", reader.ReadByte(), 0, 7);
        _expectedWord = (byte)StateCheck.Range(_name, "expected initialisation word", reader.ReadByte(), 0, 4);
        _initialised = reader.ReadBool();
        _needsIcw4 = reader.ReadBool();
        _single = reader.ReadBool();
        _autoEoi = reader.ReadBool();
        _rotateOnAutoEoi = reader.ReadBool();
        _specialMask = reader.ReadBool();
        _fullyNested = reader.ReadBool();
        _readInService = reader.ReadBool();
        _poll = reader.ReadBool();
    }

    private void BeginInitialisation(byte value)
    {
        // The edge sense circuit is reset: an input that is already high must fall and rise again.
        _latch = 0;
        _inService = 0;
        _mask = 0;
        _lowest = 7;
        _specialMask = false;
        _readInService = false;
        _poll = false;
        _rotateOnAutoEoi = false;
        _needsIcw4 = (value & 1) != 0;
        _single = (value & 2) != 0;
        _autoEoi = false;
        _fullyNested = false;
        _initialised = false;
        _expectedWord = 2;
    }

    private void WriteData(byte value)
    {
        switch (_expectedWord)
        {
            case 2:
                _vectorBase = (byte)(value & 0xF8);
                _expectedWord = _single ? (byte)(_needsIcw4 ? 4 : 0) : (byte)3;
                break;
            case 3:
                _cascade = value;
                _expectedWord = (byte)(_needsIcw4 ? 4 : 0);
                break;
            case 4:
                _autoEoi = (value & 0x02) != 0;
                _fullyNested = (value & 0x10) != 0;
                _expectedWord = 0;
                break;
            default:
                _mask = value;
                return;
        }

        _initialised = _expectedWord == 0;
    }

    private void WriteOcw2(byte value)
    {
        byte level = (byte)(value & 7);
        switch (value >> 5)
        {
            case 0:
                _rotateOnAutoEoi = false;
                break;
            case 4:
                _rotateOnAutoEoi = true;
                break;
            case 1:
                EndHighest(rotate: false);
                break;
            case 5:
                EndHighest(rotate: true);
                break;
            case 3:
                _inService &= (byte)~(1 << level);
                break;
            case 7:
                _inService &= (byte)~(1 << level);
                _lowest = level;
                break;
            case 6:
                _lowest = level;
                break;
        }
    }

    private void WriteOcw3(byte value)
    {
        if ((value & 0x40) != 0)
            _specialMask = (value & 0x20) != 0;
        _poll = (value & 0x04) != 0;
        if ((value & 0x02) != 0)
            _readInService = (value & 0x01) != 0;
    }

    private void EndHighest(bool rotate)
    {
        // In special mask mode a masked level in service is left to a specific EOI.
        byte candidates = _specialMask ? (byte)(_inService & ~_mask) : _inService;
        int rank = HighestRank(candidates);
        if (rank == 8)
            return;
        int pin = (_lowest + 1 + rank) & 7;
        _inService &= (byte)~(1 << pin);
        if (rotate)
            _lowest = (byte)pin;
    }

    private int Pending()
    {
        int request = HighestRank((byte)(Requests & ~_mask));
        if (request == 8)
            return -1;
        byte blocking = _specialMask ? (byte)(_inService & ~_mask) : _inService;
        int pin = (_lowest + 1 + request) & 7;
        // In the special fully nested mode a slave in service does not lock out its own higher requests.
        if (_fullyNested && (_cascade >> pin & 1) != 0)
            blocking &= (byte)~(1 << pin);
        return request < HighestRank(blocking) ? pin : -1;
    }

    /// <summary>Distance of the best set bit from the top priority, 0 to 7; 8 for none.</summary>
    private int HighestRank(byte bits)
    {
        if (bits == 0)
            return 8;
        int shift = (_lowest + 1) & 7;
        int rotated = ((bits >> shift) | (bits << (8 - shift))) & 0xFF;
        return BitOperations.TrailingZeroCount(rotated);
    }
}
