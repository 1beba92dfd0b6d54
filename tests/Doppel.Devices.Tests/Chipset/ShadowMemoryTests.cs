using Doppel.Devices.Chipset;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Chipset;

/// <summary>The attribute map and the SMRAM register of an 82441FX, through the bridge's configuration space.</summary>
public sealed class ShadowMemoryTests : IDisposable
{
    private const int Closed = 0x00, ReadOnly = 0x11, WriteOnly = 0x22, Open = 0x33;
    private readonly GuestMemory _memory = new(2 << 20);
    private readonly byte[] _rom = new byte[0x40000];
    private readonly ShadowMemory _shadow;
    private readonly PciHostBridge _bridge;
    private readonly PhysicalAddressSpace _physical;

    public ShadowMemoryTests()
    {
        for (int i = 0; i < _rom.Length; i++)
            _rom[i] = (byte)(0x80 | (i >> 12));
        var gate = new Lock();
        var mmio = new IoBus("mmio", 1UL << 36, gate);
        _physical = new PhysicalAddressSpace(_memory, mmio);
        _shadow = new ShadowMemory(_memory, () => _rom);
        mmio.Map(((IDevice)_shadow).Memory);
        _bridge = new PciHostBridge(new PciBus(), null, _shadow);
    }

    public void Dispose() => _memory.Dispose();

    [Theory]
    [InlineData(0xC0000, 0xFF)]
    [InlineData(0xDFFFF, 0xFF)]
    [InlineData(0xE0000, 0x80 | 0x20)]
    [InlineData(0xFFFFF, 0x80 | 0x3F)]
    public void After_reset_the_last_128_KiB_of_the_ROM_are_read_and_nothing_is_written(ulong address, int expected)
    {
        Assert.Equal((ulong)expected, _physical.Read(address, 1));
        _physical.Write(address, 1, 0x12);
        Assert.Equal((ulong)expected, _physical.Read(address, 1));
        Map(0x59, Open);
        Map(0x5A, Open);
        Map(0x5D, Open);
        Map(0x5E, Open);
        Assert.Equal(0u, _physical.Read(address, 1));
    }

    [Theory]
    [InlineData(0x5A, 0, 0xC0000)]
    [InlineData(0x5A, 4, 0xC4000)]
    [InlineData(0x5B, 0, 0xC8000)]
    [InlineData(0x5B, 4, 0xCC000)]
    [InlineData(0x5C, 0, 0xD0000)]
    [InlineData(0x5C, 4, 0xD4000)]
    [InlineData(0x5D, 0, 0xD8000)]
    [InlineData(0x5D, 4, 0xDC000)]
    [InlineData(0x5E, 0, 0xE0000)]
    [InlineData(0x5E, 4, 0xE4000)]
    [InlineData(0x5F, 0, 0xE8000)]
    [InlineData(0x5F, 4, 0xEC000)]
    [InlineData(0x59, 4, 0xF0000)]
    public void Each_register_has_its_segment(int register, int shift, ulong start)
    {
        Map(register, 3 << shift);
        for (ulong at = 0xC0000; at < 0x100000; at += 0x1000)
        {
            ulong end = start == 0xF0000 ? 0x100000 : start + 0x4000;
            Assert.Equal(at >= start && at < end, _memory.IsRam(at, 0x1000));
        }
    }

    [Fact]
    public void A_BIOS_copies_itself_into_RAM_and_protects_it()
    {
        // Some write to the RAM behind the ROM that they read.
        Map(0x59, WriteOnly);
        for (ulong at = 0xF0000; at < 0xF0010; at++)
            _physical.Write(at, 1, _physical.Read(at, 1) ^ 0xFF);
        Assert.Equal(0xB0u, _physical.Read(0xF0000, 1));
        Map(0x59, ReadOnly);
        Assert.Equal(0x4Fu, _physical.Read(0xF0000, 1));
        _physical.Write(0xF0000, 1, 1);
        Assert.Equal(0x4Fu, _physical.Read(0xF0000, 1));
        Map(0x59, Open);
        _physical.Write(0xF0000, 1, 1);
        Assert.Equal(1u, _physical.Read(0xF0000, 1));
        Map(0x59, Closed);
        Assert.Equal(0xB0u, _physical.Read(0xF0000, 1));
        Assert.False(_memory.TryWrite(0xF0000, [1]));
        Map(0x59, ReadOnly);
        Assert.Equal(1u, _physical.Read(0xF0000, 1));
    }

    [Fact]
    public void Video_memory_is_the_displays_until_SMRAM_is_opened_and_stays_so_when_it_is_locked()
    {
        Assert.Equal(0xFFu, _physical.Read(0xA0000, 1));
        _bridge.WriteConfig(0x72, 1, 0x4A);
        _physical.Write(0xA0000, 1, 7);
        Assert.Equal(7u, _physical.Read(0xA0000, 1));
        _bridge.WriteConfig(0x72, 1, 0x1A);
        Assert.Equal(0xFFu, _physical.Read(0xA0000, 1));
        _bridge.WriteConfig(0x72, 1, 0x4A);
        Assert.Equal(0x1Au, _bridge.ReadConfig(0x72, 1));
        Assert.Equal(0xFFu, _physical.Read(0xA0000, 1));
        _bridge.Reset();
        Assert.Equal(0x02u, _bridge.ReadConfig(0x72, 1));
    }

    [Fact]
    public void What_is_hidden_is_saved_and_what_is_shown_is_memory()
    {
        Map(0x59, Open);
        _physical.Write(0xF0000, 1, 0x11);
        Map(0x5E, Open);
        _physical.Write(0xE0000, 1, 0x22);
        Map(0x5E, Closed);
        var writer = new StateWriter();
        _shadow.Save(writer);

        using var memory = new GuestMemory(2 << 20);
        var shadow = new ShadowMemory(memory, () => _rom);
        memory.Store(0xF0000, [0x11]);
        shadow.Restore(new StateReader(writer.ToArray()), shadow.SectionVersion);
        Assert.Equal(0x11, memory.GetPage(0xF0000)[0]);
        Assert.True(memory.IsRam(0xF0000, 0x10000));
        Assert.Equal(0xA0, memory.GetPage(0xE0000)[0]);
        shadow.Set(8, true, true);
        Assert.Equal(0x22, memory.GetPage(0xE0000)[0]);
    }

    private void Map(int register, int value) => _bridge.WriteConfig(register, 1, (uint)value);
}
