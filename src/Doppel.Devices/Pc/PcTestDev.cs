using System.Buffers.Binary;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pc;

/// <summary>
/// The ports and memory of QEMU's pc-testdev, which conformance kernels use: a 32-bit latch at E0h (any access size)
/// and at E8h (the same latch), a page to flush at E4h, interrupt lines 0 to 23 at 2000h, and 64 KiB of memory-mapped
/// bytes at FF000000h. E9h is left to <see cref="DebugPort"/> when that is present, so E8h answers one port.
/// </summary>
public sealed class PcTestDev : IDevice
{
    /// <summary>Guest-physical address of the memory-mapped bytes.</summary>
    public const ulong MemoryAddress = 0xFF00_0000;

    private const int MemorySize = 0x10000;
    private const int LineCount = 24;
    private readonly Func<int, IInterruptLine> _lines;
    private readonly Action<ulong>? _flushPage;
    private readonly IoRange[] _ports;
    private readonly IoRange[] _memoryRanges;
    private readonly byte[] _memory = new byte[MemorySize];
    private uint _latch;

    /// <summary>Creates the device.</summary>
    /// <param name="lines">The wire of a global system interrupt, 0 to 23.</param>
    /// <param name="flushPage">Told the guest-physical address of a page whose mapping should be dropped and rebuilt; null to ignore it.</param>
    /// <param name="hasDebugPort">True when port E9h belongs to a debug port.</param>
    public PcTestDev(Func<int, IInterruptLine> lines, Action<ulong>? flushPage = null, bool hasDebugPort = true)
    {
        ArgumentNullException.ThrowIfNull(lines);
        _lines = lines;
        _flushPage = flushPage;
        var latch = new LatchRegion(this);
        _ports =
        [
            new IoRange(0xE0, 4, latch),
            new IoRange(0xE4, 4, new FlushRegion(this)),
            new IoRange(0xE8, hasDebugPort ? 1u : 4u, new BytePorts("pc-testdev-latch-byte", 4, o => (byte)(_latch >> (8 * o)), (o, v) => latch.Write((ulong)o, 1, v))),
            new IoRange(0x2000, LineCount, new BytePorts("pc-testdev-irq", LineCount, _ => 0xFF, (o, v) => _lines(o).Set(v != 0))),
        ];
        _memoryRanges = [new IoRange(MemoryAddress, MemorySize, new MemoryRegion(_memory))];
    }

    /// <inheritdoc/>
    public string SectionName => "pc-testdev";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Ports => _ports;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _memoryRanges;

    /// <inheritdoc/>
    public void Reset()
    {
        _latch = 0;
        Array.Clear(_memory);
        for (int i = 0; i < LineCount; i++)
            _lines(i).Set(false);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_latch);
        writer.Write(_memory.AsSpan());
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        uint latch = reader.ReadUInt32();
        byte[] memory = StateCheck.Length(SectionName, "memory", reader.ReadBytes(MemorySize), MemorySize);
        _latch = latch;
        memory.CopyTo(_memory, 0);
    }

    private sealed class LatchRegion(PcTestDev owner) : IIoRegion
    {
        public string Name => "pc-testdev-latch";

        public ulong Read(ulong offset, int size)
        {
            ulong value = (ulong)owner._latch >> (8 * (int)(offset & 3));
            return size >= 4 ? value : value & ((1UL << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            int shift = 8 * (int)(offset & 3);
            ulong mask = (size >= 4 ? 0xFFFF_FFFF : (1UL << (8 * size)) - 1) << shift;
            owner._latch = (uint)((owner._latch & ~mask) | ((value << shift) & mask));
        }
    }

    private sealed class FlushRegion(PcTestDev owner) : IIoRegion
    {
        public string Name => "pc-testdev-flush";

        public ulong Read(ulong offset, int size) => size == 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset == 0 && size == 4)
                owner._flushPage?.Invoke(value & 0xFFFF_F000);
        }
    }

    private sealed class MemoryRegion(byte[] bytes) : IIoRegion
    {
        public string Name => "pc-testdev-memory";

        public ulong Read(ulong offset, int size)
        {
            Span<byte> value = stackalloc byte[8];
            if (offset < MemorySize)
                bytes.AsSpan((int)offset, Math.Min(size, MemorySize - (int)offset)).CopyTo(value);
            return BinaryPrimitives.ReadUInt64LittleEndian(value);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            Span<byte> buffer = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(buffer, value);
            if (offset < MemorySize)
                buffer[..Math.Min(size, MemorySize - (int)offset)].CopyTo(bytes.AsSpan((int)offset));
        }
    }
}
