using System.Buffers.Binary;
using System.Text;
using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// QEMU's firmware configuration device (QEMU documentation, "fw_cfg"): a selector at port 510h (two bytes) and a data
/// port at 511h that yields the selected item byte by byte. Conformance kernels read the number of CPUs here. There is
/// no DMA interface, and items cannot be written.
/// </summary>
public sealed class FirmwareConfiguration : IDevice, IIoRegion
{
    /// <summary>First port.</summary>
    public const ushort Port = 0x510;

    /// <summary>Key of the number of CPUs, two bytes.</summary>
    public const ushort CpuCount = 0x05;

    /// <summary>Key of the RAM size in bytes, eight bytes.</summary>
    public const ushort MemorySize = 0x03;

    /// <summary>Key of the largest CPU count possible, two bytes.</summary>
    public const ushort MaximumCpuCount = 0x0F;

    private const ushort FileDirectory = 0x19, FirstFile = 0x20;
    private readonly SortedDictionary<ushort, byte[]> _items = [];
    private readonly List<(string Name, ushort Key, int Length)> _files = [];
    private readonly IoRange[] _ports;
    private ushort _selected;
    private int _position;

    /// <summary>Creates the device with its signature, its feature bits and an empty list of files.</summary>
    public FirmwareConfiguration()
    {
        _items[0x00] = "QEMU"u8.ToArray();
        _items[0x01] = [1, 0, 0, 0];
        _items[FileDirectory] = new byte[4];
        _ports = [new IoRange(Port, 2, this)];
    }

    /// <inheritdoc/>
    public string Name => "fw-cfg";

    /// <inheritdoc/>
    public string SectionName => "fw-cfg";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>Sets a numbered item to a 16-bit number, little-endian.</summary>
    public FirmwareConfiguration Add(ushort key, ushort value) => Add(key, [(byte)value, (byte)(value >> 8)]);

    /// <summary>Sets a numbered item.</summary>
    public FirmwareConfiguration Add(ushort key, byte[] value)
    {
        _items[key] = value;
        return this;
    }

    /// <summary>Adds a named file of at most 55 characters and lists it in the directory.</summary>
    public FirmwareConfiguration AddFile(string name, byte[] value)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (Encoding.ASCII.GetByteCount(name) > 55)
            throw new ArgumentException($"the name '{name}' of a firmware file has more than 55 characters", nameof(name));
        var key = (ushort)(FirstFile + _files.Count);
        _items[key] = value;
        _files.Add((name, key, value.Length));
        var directory = new byte[4 + (64 * _files.Count)];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        int at = 4;
        foreach ((string fileName, ushort fileKey, int length) in _files.OrderBy(f => f.Name, StringComparer.Ordinal))
        {
            BinaryPrimitives.WriteInt32BigEndian(directory.AsSpan(at), length);
            BinaryPrimitives.WriteUInt16BigEndian(directory.AsSpan(at + 4), fileKey);
            Encoding.ASCII.GetBytes(fileName, directory.AsSpan(at + 8));
            at += 64;
        }

        _items[FileDirectory] = directory;
        return this;
    }

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        if (offset != 1)
            return 0;
        ulong value = 0;
        for (int i = 0; i < size; i++)
            value |= (ulong)NextByte() << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        // Only a word written to the selector selects; the data port ignores writes.
        if (offset != 0 || size != 2)
            return;
        _selected = (ushort)value;
        _position = 0;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _selected = 0;
        _position = 0;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_selected);
        writer.Write(_position);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ushort selected = reader.ReadUInt16();
        int position = (int)StateCheck.Range(SectionName, "position", reader.ReadInt32(), 0, int.MaxValue);
        (_selected, _position) = (selected, position);
    }

    private byte NextByte() =>
        _items.TryGetValue(_selected, out byte[]? item) && _position < item.Length ? item[_position++] : (byte)0;
}
