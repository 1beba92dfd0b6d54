using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// The configuration space of a function with a type 0 header (PCI Local Bus Specification 3.0, chapter 6): its bytes,
/// and for each bit whether a guest may write it or clear it by writing 1. Not thread-safe.
/// </summary>
public sealed class PciConfigSpace
{
    /// <summary>Bytes of a conventional function's space.</summary>
    public const int ConventionalSize = 256;

    /// <summary>Bytes of an express function's space.</summary>
    public const int ExpressSize = 4096;

    /// <summary>Offset of the command register.</summary>
    public const int Command = 0x04;

    /// <summary>Offset of the status register.</summary>
    public const int Status = 0x06;

    /// <summary>Offset of the first base address register.</summary>
    public const int FirstBar = 0x10;

    private const int CapabilityPointer = 0x34;
    private readonly byte[] _bytes;
    private readonly byte[] _defaults;
    private readonly byte[] _writable;
    private readonly byte[] _clearable;
    private int _nextCapability = 0x40;
    private int _lastLink = CapabilityPointer;

    /// <summary>Creates a space with the identity filled in; the command register's decode, bus master and interrupt disable bits are writable.</summary>
    /// <param name="vendor">Vendor id.</param>
    /// <param name="device">Device id.</param>
    /// <param name="classCode">Class, subclass and programming interface in bits 23 to 0.</param>
    /// <param name="revision">Revision id.</param>
    /// <param name="subsystemVendor">Subsystem vendor id.</param>
    /// <param name="subsystem">Subsystem id.</param>
    /// <param name="size"><see cref="ConventionalSize"/> or <see cref="ExpressSize"/>.</param>
    public PciConfigSpace(ushort vendor, ushort device, uint classCode, byte revision = 0, ushort subsystemVendor = 0, ushort subsystem = 0, int size = ConventionalSize)
    {
        if (size is not (ConventionalSize or ExpressSize))
            throw new ArgumentOutOfRangeException(nameof(size), size, "a configuration space has 256 or 4096 bytes");
        _bytes = new byte[size];
        _defaults = new byte[size];
        _writable = new byte[size];
        _clearable = new byte[size];
        Define(0x00, 2, vendor);
        Define(0x02, 2, device);
        Define(Command, 2, 0, writable: 0x0547);
        Define(Status, 2, 0, clearable: 0xF900);
        Define(0x08, 4, (classCode << 8) | revision);
        Define(0x0C, 1, 0, writable: 0xFF);
        Define(0x2C, 2, subsystemVendor);
        Define(0x2E, 2, subsystem);
        Define(0x3C, 1, 0, writable: 0xFF);
    }

    /// <summary>Number of bytes.</summary>
    public int Size => _bytes.Length;

    /// <summary>True while the function answers I/O accesses (command bit 0).</summary>
    public bool DecodesPorts => (_bytes[Command] & 1) != 0;

    /// <summary>True while the function answers memory accesses (command bit 1).</summary>
    public bool DecodesMemory => (_bytes[Command] & 2) != 0;

    /// <summary>True while the function may reach memory by itself (command bit 2).</summary>
    public bool IsBusMaster => (_bytes[Command] & 4) != 0;

    /// <summary>True while INTx is disabled (command bit 10).</summary>
    public bool InterruptDisabled => (_bytes[Command + 1] & 4) != 0;

    /// <summary>Sets a register's value after reset and which of its bits a guest may write, or clear by writing 1.</summary>
    public void Define(int offset, int size, uint value, uint writable = 0, uint clearable = 0)
    {
        for (int i = 0; i < size; i++)
        {
            _bytes[offset + i] = _defaults[offset + i] = (byte)(value >> (8 * i));
            _writable[offset + i] = (byte)(writable >> (8 * i));
            _clearable[offset + i] = (byte)(clearable >> (8 * i));
        }
    }

    /// <summary>Appends a capability to the list and returns its offset; its first two bytes are the id and the link.</summary>
    /// <param name="id">Capability id.</param>
    /// <param name="length">Bytes with the two of the header.</param>
    /// <exception cref="InvalidOperationException">The 192 bytes for capabilities are used up.</exception>
    public int AddCapability(byte id, int length)
    {
        int offset = _nextCapability;
        if (offset + length > ConventionalSize)
            throw new InvalidOperationException($"capability 0x{id:x2} of {length} bytes does not fit behind 0x{offset:x2}");
        Define(offset, 1, id);
        Define(offset + 1, 1, 0);
        Define(_lastLink, 1, (uint)offset);
        _lastLink = offset + 1;
        _nextCapability = (offset + length + 3) & ~3;
        Define(Status, 2, Get(Status, 2) | 0x10, clearable: 0xF900);
        return offset;
    }

    /// <summary>Reads 1, 2 or 4 bytes; bytes beyond the end are FFh.</summary>
    public uint Get(int offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            uint part = (uint)(offset + i) < (uint)_bytes.Length ? _bytes[offset + i] : 0xFFu;
            value |= part << (8 * i);
        }

        return value;
    }

    /// <summary>Stores 1, 2 or 4 bytes as the device itself does, whatever a guest may write.</summary>
    public void Set(int offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
            _bytes[offset + i] = (byte)(value >> (8 * i));
    }

    /// <summary>A guest's write of 1, 2 or 4 bytes; bytes beyond the end are dropped.</summary>
    public void Write(int offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
        {
            int at = offset + i;
            if ((uint)at >= (uint)_bytes.Length)
                return;
            byte part = (byte)(value >> (8 * i));
            byte kept = (byte)(_bytes[at] & ~(part & _clearable[at]));
            _bytes[at] = (byte)((kept & ~_writable[at]) | (part & _writable[at]));
        }
    }

    /// <summary>Every register back to its value after reset.</summary>
    public void Reset() => _defaults.CopyTo(_bytes, 0);

    /// <summary>Writes the bytes.</summary>
    public void Save(StateWriter writer) => writer.Write(_bytes.AsSpan());

    /// <summary>Reads and checks what <see cref="Save"/> wrote, for <see cref="Adopt"/>. Bits of the identity that no guest could have changed must be this function's own.</summary>
    /// <exception cref="InvalidDataException">The space is that of another function.</exception>
    public byte[] ReadState(StateReader reader, string section)
    {
        byte[] bytes = StateCheck.Length(section, "configuration space", reader.ReadBytes(_bytes.Length), _bytes.Length);
        for (int i = 0; i < 0x10; i++)
        {
            bool identity = i is not (Status or Status + 1);
            if (identity && ((bytes[i] ^ _defaults[i]) & ~_writable[i] & 0xFF) != 0)
                throw new InvalidDataException($"section {section}: byte 0x{i:x2} of the configuration space is 0x{bytes[i]:x2}; this function has 0x{_defaults[i]:x2}");
        }

        return bytes;
    }

    /// <summary>Takes over what <see cref="ReadState"/> returned.</summary>
    public void Adopt(byte[] state) => state.CopyTo(_bytes, 0);
}
