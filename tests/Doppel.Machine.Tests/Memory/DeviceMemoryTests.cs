using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.Memory;

/// <summary>What devices see of guest memory: RAM and nothing else, without copies, and pages that go back to the host.</summary>
public sealed class DeviceMemoryTests
{
    private const ulong High = GuestMemory.HighRamStart;

    [Theory]
    [InlineData(0UL, 0x1000UL, true)]
    [InlineData(0x10_0000UL, GuestMemory.LowRamLimit - 0x10_0000UL, true)]
    [InlineData(1UL, GuestMemory.LowRamLimit, false)]
    [InlineData(GuestMemory.LowRamLimit, 1UL, false)]
    [InlineData(High, 1UL << 30, true)]
    [InlineData(High - 1, 2UL, false)]
    [InlineData(High + (1UL << 30) - 1, 2UL, false)]
    [InlineData(0xF0000UL, 1UL, false)]
    [InlineData(0xEFFFFUL, 1UL, true)]
    [InlineData(0xEFFFFUL, 2UL, false)]
    [InlineData(0xF1000UL, 1UL, true)]
    [InlineData(ulong.MaxValue, 1UL, false)]
    [InlineData(ulong.MaxValue, 2UL, false)]
    [InlineData(0UL, ulong.MaxValue, false)]
    public void Only_ram_is_a_device_s(ulong address, ulong length, bool expected)
    {
        using var memory = new GuestMemory(4UL << 30);
        memory.AddRom(0xF0000, new byte[100]);
        Assert.Equal(expected, memory.IsRam(address, length));
        var views = new List<Memory<byte>>();
        Assert.Equal(expected, memory.TryGetViews(address, length, views));
        Assert.Equal(expected ? length : 0, views.Aggregate(0UL, (sum, view) => sum + (ulong)view.Length));
    }

    [Fact]
    public void Views_show_the_memory_across_the_seams_of_blocks()
    {
        using var memory = new GuestMemory(3UL << 30);
        var views = new List<Memory<byte>>();
        Assert.True(memory.TryGetViews((1UL << 30) - 2, 4, views));
        byte next = 1;
        foreach (Memory<byte> view in views)
        {
            foreach (ref byte b in view.Span)
                b = next++;
        }

        byte[] bytes = new byte[4];
        Assert.True(memory.TryRead((1UL << 30) - 2, bytes));
        Assert.Equal([1, 2, 3, 4], bytes);
    }

    [Fact]
    public void Freed_pages_read_as_zeros_and_are_seen_as_written()
    {
        using var memory = new GuestMemory(1 << 20);
        Assert.True(memory.TryWrite(0x1FFF, [1, 2]));
        Assert.True(memory.TryWrite(0x2FFF, [3, 4]));
        memory.SetFlags(0x2000, PageFlags.Code);
        var seen = new List<ulong>();
        memory.WatchedPageWritten += (address, _) => seen.Add(address);
        Assert.True(memory.TryFree(0x2000, 0x1000));
        byte[] bytes = new byte[2];
        Assert.True(memory.TryRead(0x1FFF, bytes));
        Assert.Equal([1, 0], bytes);
        Assert.True(memory.TryRead(0x2FFF, bytes));
        Assert.Equal([0, 4], bytes);
        Assert.Equal([0x2000UL], seen);
        Assert.False(memory.TryFree(0x2001, 0x1000));
        Assert.False(memory.TryFree(0x2000, 0xFFF));
        Assert.False(memory.TryFree(1 << 20, 0x1000));
        Assert.True(memory.TryFree(0x2000, 0));
    }
}
