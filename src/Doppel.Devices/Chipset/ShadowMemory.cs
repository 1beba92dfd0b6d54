using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Chipset;

/// <summary>
/// What an 82441FX shows between 640 KiB and 1 MiB (data sheet 290549, 3.2.18 and 3.2.21): from C0000h on, by its
/// programmable attribute map, RAM or the ROM for each of thirteen segments, for reads and for writes; below it the video
/// memory, or by the system management RAM register the RAM behind that. The machine's memory always holds what is read; RAM
/// that is hidden behind ROM waits here.
/// </summary>
public sealed class ShadowMemory : IDevice, IIoRegion
{
    /// <summary>First address.</summary>
    public const ulong Start = 0xC0000;

    /// <summary>Bytes.</summary>
    public const int Length = 0x40000;

    /// <summary>Number of segments: twelve of 16 KiB from C0000h on, then one of 64 KiB.</summary>
    public const int SegmentCount = 13;

    private const ulong VideoStart = 0xA0000, VideoLength = 0x20000;
    private const int LastLength = 0x10000, SegmentLength = 0x4000;
    private const byte Readable = 1, Writable = 2;
    private readonly GuestMemory _memory;
    private readonly Func<ReadOnlyMemory<byte>> _rom;
    private readonly byte[] _hidden = new byte[Length];
    private readonly byte[] _segments = new byte[SegmentCount];
    private readonly IoRange[] _ranges;
    private bool _isVideoRam;

    /// <summary>Creates the map as after reset: the ROM is read everywhere, and writes go nowhere.</summary>
    /// <param name="memory">The machine's memory, with RAM there.</param>
    /// <param name="rom">What ends at 1 MiB where RAM isn't read.</param>
    public ShadowMemory(GuestMemory memory, Func<ReadOnlyMemory<byte>> rom)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(rom);
        _memory = memory;
        _rom = rom;
        _ranges = [new IoRange(Start, Length, this)];
        for (int segment = 0; segment < SegmentCount; segment++)
            Show(segment);
        _memory.SetKind(VideoStart, VideoLength, PageFlags.None);
    }

    /// <summary>Told before video memory is covered by RAM (true), and after it is there again (false).</summary>
    public event Action<bool>? VideoCovered;

    /// <inheritdoc/>
    public string Name => "shadow-memory";

    /// <inheritdoc/>
    public string SectionName => "shadow-memory";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _ranges;

    /// <summary>Says where reads and writes of a segment go.</summary>
    /// <param name="segment">0 to 12, by address.</param>
    /// <param name="readsRam">True for RAM, false for the ROM.</param>
    /// <param name="writesRam">True for RAM, false for nowhere.</param>
    public void Set(int segment, bool readsRam, bool writesRam)
    {
        var wanted = (byte)((readsRam ? Readable : 0) | (writesRam ? Writable : 0));
        byte old = _segments[segment];
        if (old == wanted)
            return;
        (ulong start, int length) = Place(segment);
        Span<byte> hidden = _hidden.AsSpan((int)(start - Start), length);
        if ((old & Readable) != 0 && !readsRam)
            _memory.Load(start, hidden);
        else if ((old & Readable) == 0 && readsRam)
            _memory.Store(start, hidden);
        _segments[segment] = wanted;
        Show(segment);
    }

    /// <summary>Shows RAM instead of video memory from A0000h to BFFFFh (SMRAM opened), or video memory again.</summary>
    public void SetVideoRam(bool isRam)
    {
        if (isRam == _isVideoRam)
            return;
        _isVideoRam = isRam;
        if (isRam)
            VideoCovered?.Invoke(true);
        _memory.SetKind(VideoStart, VideoLength, isRam ? PageFlags.Ram : PageFlags.None);
        if (!isRam)
            VideoCovered?.Invoke(false);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        for (int segment = 0; segment < SegmentCount; segment++)
            Set(segment, false, false);
        SetVideoRam(false);
    }

    /// <summary>Where neither RAM nor ROM is read.</summary>
    public ulong Read(ulong offset, int size) => size == 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;

    /// <summary>What isn't written to RAM that is read, too.</summary>
    public void Write(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size && offset + (uint)i < Length; i++)
        {
            int at = (int)offset + i;
            if (_segments[Math.Min(at / SegmentLength, SegmentCount - 1)] == Writable)
                _hidden[at] = (byte)(value >> (8 * i));
        }
    }

    /// <summary>Saves the map and the RAM that is hidden; what is read is part of the machine's memory.</summary>
    public void Save(StateWriter writer)
    {
        writer.Write(_segments.AsSpan());
        writer.Write(_isVideoRam);
        for (int segment = 0; segment < SegmentCount; segment++)
        {
            (ulong start, int length) = Place(segment);
            if ((_segments[segment] & Readable) == 0)
                writer.Write(_hidden.AsSpan((int)(start - Start), length));
        }
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] segments = StateCheck.Length(SectionName, "attributes", reader.ReadBytes(SegmentCount), SegmentCount);
        foreach (byte attributes in segments)
            _ = StateCheck.Range(SectionName, "attributes of a segment", attributes, 0, Readable | Writable);
        bool isVideoRam = reader.ReadBool();
        var hidden = new byte[Length];
        for (int segment = 0; segment < SegmentCount; segment++)
        {
            (ulong start, int length) = Place(segment);
            if ((segments[segment] & Readable) == 0)
                StateCheck.Length(SectionName, "hidden RAM", reader.ReadBytes(length), length).CopyTo(hidden, (int)(start - Start));
        }

        segments.CopyTo(_segments, 0);
        hidden.CopyTo(_hidden, 0);
        for (int segment = 0; segment < SegmentCount; segment++)
            Show(segment);
        SetVideoRam(isVideoRam);
    }

    private static (ulong Start, int Length) Place(int segment) =>
        (Start + (ulong)(segment * SegmentLength), segment == SegmentCount - 1 ? LastLength : SegmentLength);

    // Gives pages their kinds, and those that show the ROM its bytes.
    private void Show(int segment)
    {
        (ulong start, int length) = Place(segment);
        byte attributes = _segments[segment];
        if ((attributes & Readable) != 0)
        {
            _memory.SetKind(start, (ulong)length, attributes == Readable ? PageFlags.Rom : PageFlags.Ram);
            return;
        }

        ReadOnlySpan<byte> rom = _rom().Span;
        const int MostRom = 0x20000;
        ulong romStart = 0x100000 - (ulong)(Math.Min(rom.Length, MostRom) & ~(GuestMemory.PageSize - 1));
        ulong middle = Math.Clamp(romStart, start, start + (ulong)length);
        if (middle > start)
            _memory.SetKind(start, middle - start, PageFlags.None);
        if (middle == start + (ulong)length)
            return;
        int shown = (int)(start + (ulong)length - middle);
        _memory.Store(middle, rom.Slice(rom.Length - (int)(0x100000 - middle), shown));
        _memory.SetKind(middle, (ulong)shown, PageFlags.Rom);
    }
}
