using Doppel.Machine.Memory;

namespace Doppel.Devices.Virtio;

/// <summary>
/// The buffers that a driver has made available together: what the device may read, then what it may write. Every piece has
/// been checked to lie in RAM. Nothing else of the guest's memory can be reached through it. The machine's I/O lock guards
/// it, but once taken from the queue it doesn't change, so any thread may read it until it is returned.
/// </summary>
public sealed class VirtioChain
{
    /// <summary>Most pieces of a chain; a driver's limit is the queue's size, which is not larger.</summary>
    public const int MaximumBuffers = 1024;

    private readonly GuestMemory _memory;
    private readonly List<VirtioBuffer> _readable = [];
    private readonly List<VirtioBuffer> _writable = [];
    private int _count;

    internal VirtioChain(GuestMemory memory) => _memory = memory;

    /// <summary>Bytes that the device may read.</summary>
    public uint ReadableLength { get; private set; }

    /// <summary>Bytes that the device may write.</summary>
    public uint WritableLength { get; private set; }

    /// <summary>The pieces that the device may read. Buffers that lie side by side in memory are one piece.</summary>
    public IReadOnlyList<VirtioBuffer> Readable => _readable;

    /// <summary>The pieces that the device may write. Buffers that lie side by side in memory are one piece.</summary>
    public IReadOnlyList<VirtioBuffer> Writable => _writable;

    /// <summary>Number of the queue that it came from.</summary>
    public int Queue { get; internal set; }

    /// <summary>What the driver knows it by: the index of its first descriptor (split ring) or its buffer id (packed ring).</summary>
    internal ushort Id { get; set; }

    /// <summary>Where it begins in the descriptor ring.</summary>
    internal ushort Slot { get; set; }

    /// <summary>How many places of the descriptor ring it takes; of meaning in a packed ring only.</summary>
    internal ushort SlotCount { get; set; }

    /// <summary>Bytes written, while the completion is kept back.</summary>
    internal uint Written { get; set; }

    /// <summary>Reads from what is readable.</summary>
    /// <returns>Number of bytes read: fewer than asked for when the chain ends.</returns>
    public int Read(uint offset, Span<byte> destination)
    {
        int done = 0;
        foreach (VirtioBuffer buffer in _readable)
        {
            if (offset >= buffer.Length)
            {
                offset -= buffer.Length;
                continue;
            }

            int part = (int)Math.Min(buffer.Length - offset, (uint)(destination.Length - done));
            if (part == 0)
                break;
            _ = _memory.TryRead(buffer.Address + offset, destination.Slice(done, part));
            done += part;
            offset = 0;
        }

        return done;
    }

    /// <summary>Writes to what is writable.</summary>
    /// <returns>Number of bytes written: fewer than given when the chain ends.</returns>
    public int Write(uint offset, ReadOnlySpan<byte> source)
    {
        int done = 0;
        foreach (VirtioBuffer buffer in _writable)
        {
            if (offset >= buffer.Length)
            {
                offset -= buffer.Length;
                continue;
            }

            int part = (int)Math.Min(buffer.Length - offset, (uint)(source.Length - done));
            if (part == 0)
                break;
            _ = _memory.TryWrite(buffer.Address + offset, source.Slice(done, part));
            done += part;
            offset = 0;
        }

        return done;
    }

    /// <summary>Views of a part of what is readable, for back ends that read guest memory without a copy.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes; the part must lie inside.</param>
    public List<ReadOnlyMemory<byte>> GetReadableViews(uint offset, uint length) =>
        GetViews(_readable, offset, length).ConvertAll(view => (ReadOnlyMemory<byte>)view);

    /// <summary>Views of a part of what is writable. Whoever writes through them calls <see cref="NoteWritten"/> after.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes; the part must lie inside.</param>
    public List<Memory<byte>> GetWritableViews(uint offset, uint length) => GetViews(_writable, offset, length);

    /// <summary>Says that the first bytes of what is writable may have been written through views.</summary>
    public void NoteWritten(uint length)
    {
        foreach (VirtioBuffer buffer in _writable)
        {
            uint part = Math.Min(length, buffer.Length);
            if (part == 0)
                return;
            for (uint at = 0; at < part; at += int.MaxValue)
                _memory.NoteWrite(buffer.Address + at, (int)Math.Min(part - at, int.MaxValue));
            length -= part;
        }
    }

    internal void Clear()
    {
        _readable.Clear();
        _writable.Clear();
        _count = 0;
        ReadableLength = 0;
        WritableLength = 0;
        Written = 0;
    }

    /// <summary>Adds a piece.</summary>
    /// <returns>Null, or the rule that it breaks.</returns>
    internal string? Add(ulong address, uint length, bool isWritable)
    {
        if (_count == MaximumBuffers)
            return $"a chain has more than {MaximumBuffers} buffers";
        if (!isWritable && _writable.Count != 0)
            return "a buffer for the device to read comes after one for it to write";
        uint total = isWritable ? WritableLength : ReadableLength;
        if (length > uint.MaxValue - total)
            return "a chain has 4 GiB or more";
        if (!_memory.IsRam(address, length))
            return $"the buffer 0x{address:x}+0x{length:x} is not RAM";
        _count++;
        List<VirtioBuffer> buffers = isWritable ? _writable : _readable;
        // What lies side by side is one piece for whoever copies.
        if (buffers.Count != 0 && buffers[^1] is var last && last.Address + last.Length == address)
            buffers[^1] = new VirtioBuffer(last.Address, last.Length + length);
        else
            buffers.Add(new VirtioBuffer(address, length));
        if (isWritable)
            WritableLength = total + length;
        else
            ReadableLength = total + length;
        return null;
    }

    private List<Memory<byte>> GetViews(List<VirtioBuffer> buffers, uint offset, uint length)
    {
        var views = new List<Memory<byte>>(buffers.Count);
        foreach (VirtioBuffer buffer in buffers)
        {
            if (offset >= buffer.Length)
            {
                offset -= buffer.Length;
                continue;
            }

            uint part = Math.Min(buffer.Length - offset, length);
            if (part == 0)
                break;
            _ = _memory.TryGetViews(buffer.Address + offset, part, views);
            length -= part;
            offset = 0;
        }

        return length == 0 ? views : throw new ArgumentOutOfRangeException(nameof(length), length, "the part ends behind the chain");
    }
}
