using System.Buffers.Binary;
using System.Text;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// QEMU's firmware configuration device (QEMU documentation, "fw_cfg"): a selector at port 510h (two bytes), a data port at
/// 511h that yields the selected item byte by byte, and at 514h the address of a description of what is to be copied from an
/// item to guest memory or back. Firmware learns from its items what the machine is made of.
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

    /// <summary>Longest name of a file in bytes.</summary>
    public const int LongestName = 55;

    private const ushort FileDirectory = 0x19, FirstFile = 0x20, DmaPort = 0x514;
    private const int MostWritten = 1 << 20;
    private readonly SortedDictionary<ushort, Item> _items = [];
    private readonly List<(string Name, ushort Key)> _files = [];
    private readonly GuestMemory? _memory;
    private readonly IoRange[] _ports;
    private ushort _selected;
    private int _position;
    private ulong _dmaAddress;
    private byte[]? _content;

    /// <summary>Creates the device with its signature, its feature bits and an empty list of files.</summary>
    /// <param name="memory">What the guest may have copied to and from; null for a device without that interface.</param>
    public FirmwareConfiguration(GuestMemory? memory = null)
    {
        _memory = memory;
        const byte Basic = 1, Dma = 2;
        _ = Add(0x00, "QEMU"u8.ToArray()).Add(0x01, [memory is null ? Basic : (byte)(Basic | Dma), 0, 0, 0]);
        _items[FileDirectory] = new Item(MakeDirectory, null);
        _ports = memory is null ? [new IoRange(Port, 2, this)] : [new IoRange(Port, 2, this), new IoRange(DmaPort, 8, new DmaRegion(this))];
    }

    /// <inheritdoc/>
    public string Name => "fw-cfg";

    /// <inheritdoc/>
    public string SectionName => "fw-cfg";

    /// <inheritdoc/>
    public int SectionVersion => 2;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <summary>Sets a numbered item to a 16-bit number, little-endian.</summary>
    public FirmwareConfiguration Add(ushort key, ushort value) => Add(key, [(byte)value, (byte)(value >> 8)]);

    /// <summary>Sets a numbered item.</summary>
    public FirmwareConfiguration Add(ushort key, byte[] value)
    {
        _items[key] = new Item(() => value, null);
        return this;
    }

    /// <summary>Adds a named file of at most <see cref="LongestName"/> characters and lists it in the directory.</summary>
    public FirmwareConfiguration AddFile(string name, byte[] value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return AddFile(name, () => value);
    }

    /// <summary>Adds a named file whose content is asked for when the guest selects it, and when it lists the files. Its length must not change.</summary>
    public FirmwareConfiguration AddFile(string name, Func<byte[]> content) => AddFile(name, new Item(content, null));

    /// <summary>Adds a named file that the guest may write to; what it writes is saved with the device.</summary>
    /// <param name="name">The name.</param>
    /// <param name="content">What it holds first; at most 1 MiB.</param>
    /// <param name="written">Told the content after each write.</param>
    public FirmwareConfiguration AddWritableFile(string name, byte[] content, Action<byte[]> written)
    {
        ArgumentNullException.ThrowIfNull(content);
        ArgumentNullException.ThrowIfNull(written);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(content.Length, MostWritten);
        return AddFile(name, new Item(() => content, written));
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
        if (offset == 0 && size == 2)
            Select((ushort)value);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        Select(0);
        _dmaAddress = 0;
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_selected);
        writer.Write(_position);
        writer.Write(_dmaAddress);
        foreach (Item item in _items.Values.Where(item => item.Written is not null))
            writer.Write(item.Content().AsSpan());
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        ushort selected = reader.ReadUInt16();
        int position = (int)StateCheck.Range(SectionName, "position", reader.ReadInt32(), 0, int.MaxValue);
        ulong dmaAddress = version < 2 ? 0 : reader.ReadUInt64();
        var written = new List<(Item Item, byte[] Content)>();
        foreach (Item item in _items.Values.Where(item => version >= 2 && item.Written is not null))
            written.Add((item, StateCheck.Length(SectionName, "a file", reader.ReadBytes(MostWritten), item.Content().Length)));
        foreach ((Item item, byte[] content) in written)
        {
            content.CopyTo(item.Content(), 0);
            item.Written!(item.Content());
        }

        (_selected, _position, _dmaAddress, _content) = (selected, position, dmaAddress, null);
    }

    private FirmwareConfiguration AddFile(string name, Item item)
    {
        if (Encoding.ASCII.GetByteCount(name) > LongestName)
            throw new ArgumentException($"the name '{name}' of a firmware file has more than {LongestName} characters", nameof(name));
        var key = (ushort)(FirstFile + _files.Count);
        _items[key] = item;
        _files.Add((name, key));
        return this;
    }

    private byte[] MakeDirectory()
    {
        var directory = new byte[4 + (64 * _files.Count)];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        int at = 4;
        foreach ((string name, ushort key) in _files.OrderBy(f => f.Name, StringComparer.Ordinal))
        {
            BinaryPrimitives.WriteInt32BigEndian(directory.AsSpan(at), _items[key].Content().Length);
            BinaryPrimitives.WriteUInt16BigEndian(directory.AsSpan(at + 4), key);
            Encoding.ASCII.GetBytes(name, directory.AsSpan(at + 8));
            at += 64;
        }

        return directory;
    }

    private void Select(ushort key)
    {
        _selected = key;
        _position = 0;
        _content = null;
    }

    private byte[] Content() => _content ??= _items.TryGetValue(_selected, out Item? item) ? item.Content() : [];

    private byte NextByte() => Content() is var content && _position < content.Length ? content[_position++] : (byte)0;

    // Big-endian, as all of this interface: flags, length, guest-physical address.
    private void Transfer(ulong description)
    {
        const uint Error = 1, ReadItem = 2, Skip = 4, SelectItem = 8, WriteItem = 16;
        Span<byte> command = stackalloc byte[16];
        if (!_memory!.TryRead(description, command))
            return;
        uint control = BinaryPrimitives.ReadUInt32BigEndian(command);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(command[4..]);
        ulong address = BinaryPrimitives.ReadUInt64BigEndian(command[8..]);
        if ((control & SelectItem) != 0)
            Select((ushort)(control >> 16));
        bool isGood = (control & ReadItem) != 0 ? TryCopyOut(address, length)
            : (control & WriteItem) != 0 ? TryCopyIn(address, length)
            : true;
        if ((control & (ReadItem | WriteItem)) == 0 && (control & Skip) != 0)
            _position = (int)Math.Min(int.MaxValue, (long)_position + length);
        BinaryPrimitives.WriteUInt32BigEndian(command, isGood ? 0 : Error);
        _ = _memory.TryWrite(description, command[..4]);
    }

    private bool TryCopyOut(ulong address, uint length)
    {
        if (!_memory!.IsRam(address, length))
            return false;
        byte[] content = Content();
        int there = (int)Math.Min(length, (uint)Math.Max(0, content.Length - _position));
        bool isWritten = _memory.TryWrite(address, content.AsSpan(Math.Min(_position, content.Length), there));
        // Behind the item's end there are zeros.
        Span<byte> zeros = stackalloc byte[4096];
        zeros.Clear();
        for (uint done = (uint)there; isWritten && done < length; done += (uint)zeros.Length)
            isWritten = _memory.TryWrite(address + done, zeros[..(int)Math.Min((uint)zeros.Length, length - done)]);
        _position = (int)Math.Min(int.MaxValue, (long)_position + length);
        return isWritten;
    }

    private bool TryCopyIn(ulong address, uint length)
    {
        if (!_items.TryGetValue(_selected, out Item? item) || item.Written is null)
            return false;
        byte[] content = item.Content();
        if (_position > content.Length || length > content.Length - _position || !_memory!.TryRead(address, content.AsSpan(_position, (int)length)))
            return false;
        _position += (int)length;
        item.Written(content);
        return true;
    }

    private sealed record Item(Func<byte[]> Content, Action<byte[]>? Written);

    private sealed class DmaRegion(FirmwareConfiguration owner) : IIoRegion
    {
        // "QEMU CFG", by which firmware sees that the interface is there.
        private static readonly byte[] Signature = "QEMU CFG"u8.ToArray();

        public string Name => "fw-cfg-dma";

        public ulong Read(ulong offset, int size)
        {
            ulong value = 0;
            for (int i = 0; i < size && offset + (uint)i < 8; i++)
                value |= (ulong)Signature[(int)offset + i] << (8 * i);
            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (size != 4 || offset is not (0 or 4))
                return;
            ulong half = BinaryPrimitives.ReverseEndianness((uint)value);
            if (offset == 0)
            {
                owner._dmaAddress = half << 32;
                return;
            }

            ulong address = owner._dmaAddress | half;
            owner._dmaAddress = 0;
            owner.Transfer(address);
        }
    }
}
