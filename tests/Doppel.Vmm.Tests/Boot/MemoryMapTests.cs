using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Boot;

public sealed class MemoryMapTests
{
    [Theory]
    [InlineData(1UL << 20)]
    [InlineData(512UL << 20)]
    [InlineData(4UL << 30)]
    public void Ranges_are_sorted_apart_and_all_RAM_but_the_VGA_and_BIOS_windows_is_usable(ulong size)
    {
        using var memory = new GuestMemory(size);
        MemoryMap map = MemoryMap.ForPc(memory);
        ulong end = 0, usable = 0;
        foreach (MemoryRange range in map.Ranges)
        {
            Assert.True(range.Start >= end);
            end = range.End;
            usable += range.Kind == MemoryKind.Ram ? range.Length : 0;
        }

        Assert.Equal(size - 0x100000 + 0x9FC00, usable);
    }

    [Fact]
    public void A_reserved_range_splits_the_RAM_around_it()
    {
        using var memory = new GuestMemory(16 << 20);
        MemoryMap map = MemoryMap.ForPc(memory, new MemoryRange(0x800000, 0x1000, MemoryKind.AcpiTables));
        Assert.Contains(new MemoryRange(0x100000, 0x700000, MemoryKind.Ram), map.Ranges);
        Assert.Contains(new MemoryRange(0x800000, 0x1000, MemoryKind.AcpiTables), map.Ranges);
        Assert.Contains(new MemoryRange(0x801000, 0x7FF000, MemoryKind.Ram), map.Ranges);
    }
}
