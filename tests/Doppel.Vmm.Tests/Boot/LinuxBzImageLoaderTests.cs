using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Boot;

public sealed class LinuxBzImageLoaderTests : IDisposable
{
    private readonly GuestMemory _memory = new(64 << 20);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void The_64_bit_entry_is_0x200_into_the_kernel_at_its_preferred_address()
    {
        CpuEntry entry = Load(Samples.BzImage());
        Assert.Equal(CpuEntryMode.Long64, entry.Mode);
        Assert.Equal(0x1000200u, entry.Rip);
        Assert.Equal(0x10, entry.CodeSelector);
        Assert.Equal(0x18, entry.DataSelector);
        Assert.Equal(Samples.BzImage().AsSpan(Samples.SetupSize, 64).ToArray(), Read(0x1000000, 64));
    }

    [Fact]
    public void A_kernel_without_the_64_bit_entry_starts_in_protected_mode_at_its_first_byte()
    {
        CpuEntry entry = Load(Samples.BzImage(is64: false, preferred: 0x400000));
        Assert.Equal(CpuEntryMode.Protected32, entry.Mode);
        Assert.Equal(0x400000u, entry.Rip);
    }

    [Fact]
    public void A_kernel_that_can_not_be_moved_lies_at_1_MiB() => Assert.Equal(0x100200u, Load(Samples.BzImage(relocatable: false)).Rip);

    [Fact]
    public void Boot_parameters_hold_the_header_the_loader_type_and_the_memory_map()
    {
        CpuEntry entry = Load(Samples.BzImage(), "console=ttyS0", rsdp: 0xE0000);
        byte[] page = Read(entry.Rsi, 4096);
        Assert.Equal("HdrS", Encoding.ASCII.GetString(page, 0x202, 4));
        Assert.Equal(0xFF, page[0x210]);
        Assert.Equal(0xE0000u, BitConverter.ToUInt64(page, 0x70));
        uint commandLine = BitConverter.ToUInt32(page, 0x228);
        Assert.Equal("console=ttyS0\0", Encoding.ASCII.GetString(Read(commandLine, 14)));
        MemoryMap map = MemoryMap.ForPc(_memory);
        Assert.Equal(map.Ranges.Count, page[0x1E8]);
        for (int i = 0; i < map.Ranges.Count; i++)
        {
            Assert.Equal(map.Ranges[i].Start, BitConverter.ToUInt64(page, 0x2D0 + (20 * i)));
            Assert.Equal(map.Ranges[i].Length, BitConverter.ToUInt64(page, 0x2D8 + (20 * i)));
            Assert.Equal((uint)map.Ranges[i].Kind, BitConverter.ToUInt32(page, 0x2E0 + (20 * i)));
        }
    }

    [Fact]
    public void The_initial_RAM_disk_lies_on_a_page_below_the_kernels_limit()
    {
        byte[] initrd = [.. Enumerable.Range(0, 5000).Select(i => (byte)i)];
        CpuEntry entry = Load(Samples.BzImage(initrdMaximum: 0x37FFFFF), initrd: initrd);
        byte[] page = Read(entry.Rsi, 4096);
        uint address = BitConverter.ToUInt32(page, 0x218);
        Assert.Equal(5000u, BitConverter.ToUInt32(page, 0x21C));
        Assert.Equal(0x3800000u - 8192, address);
        Assert.Equal(initrd, Read(address, 5000));
    }

    [Fact]
    public void An_initial_RAM_disk_that_leaves_no_room_is_refused_with_the_memory_that_would_do()
    {
        BootException error = Assert.Throws<BootException>(() => Load(Samples.BzImage(), initrd: new byte[60 << 20]));
        Assert.Equal(BootError.TooLarge, error.Error);
        Assert.Contains("60 MiB", error.Message, StringComparison.Ordinal);
        Assert.Contains("at least 78 MiB", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_kernel_that_does_not_fit_is_refused()
    {
        BootException error = Assert.Throws<BootException>(() => Load(Samples.BzImage(initSize: 0x4000000)));
        Assert.Equal(BootError.TooLarge, error.Error);
    }

    [Fact]
    public void A_command_line_that_is_too_long_for_the_kernel_is_refused()
    {
        _ = Load(Samples.BzImage(commandLine: 20), new string('a', 20));
        BootException error = Assert.Throws<BootException>(() => Load(Samples.BzImage(commandLine: 20), new string('a', 21)));
        Assert.Equal(BootError.TooLarge, error.Error);
    }

    [Fact]
    public void An_old_boot_protocol_is_refused_by_its_number()
    {
        BootException error = Assert.Throws<BootException>(() => Load(Samples.BzImage(version: 0x0202)));
        Assert.Equal(BootError.Unsupported, error.Error);
        Assert.Contains("2.02", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_page_tables_map_4_GiB_to_themselves()
    {
        CpuEntry entry = Load(Samples.BzImage());
        foreach (ulong address in (ulong[])[0, 0x1000200, 0xFEC00000, 0xFFFFFFF8])
        {
            ulong table = entry.Cr3;
            for (int level = 4; level > 2; level--)
                table = BitConverter.ToUInt64(Read(table + (((address >> (12 + (9 * (level - 1)))) & 511) * 8), 8)) & ~0xFFFUL;
            ulong page = BitConverter.ToUInt64(Read(table + (((address >> 21) & 511) * 8), 8));
            Assert.Equal((address & ~0x1FFFFFUL) | 0x83, page);
        }
    }

    private CpuEntry Load(byte[] image, string commandLine = "", byte[]? initrd = null, ulong rsdp = 0) =>
        BootImage.Recognise(Samples.File(image)).Load(_memory, new BootRequest
        {
            CommandLine = commandLine,
            Initrd = initrd is null ? null : new BootFile("initrd", initrd),
            MemoryMap = MemoryMap.ForPc(_memory),
            RsdpAddress = rsdp,
        });

    private byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return bytes;
    }
}
