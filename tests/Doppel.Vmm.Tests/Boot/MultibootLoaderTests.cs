using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Boot;

public sealed class MultibootLoaderTests : IDisposable
{
    private readonly GuestMemory _memory = new(32 << 20);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void An_ELF_kernel_gets_the_magic_its_command_line_memory_and_module()
    {
        CpuEntry entry = Load(Samples.Elf(is64: false, pvh: false, multiboot: true), [7, 8, 9]);
        Assert.Equal(CpuEntryMode.Protected32, entry.Mode);
        Assert.Equal(0x2BADB002u, entry.Rax);
        Assert.Equal(0x200010u, entry.Rip);
        byte[] info = Read(entry.Rbx, 116);
        Assert.Equal(0x24Du, BitConverter.ToUInt32(info));
        Assert.Equal(0x9FC00u / 1024, BitConverter.ToUInt32(info, 4));
        Assert.Equal(31u * 1024, BitConverter.ToUInt32(info, 8));
        Assert.Equal("sample args\0", Encoding.ASCII.GetString(Read(BitConverter.ToUInt32(info, 16), 12)));
        Assert.Equal(1u, BitConverter.ToUInt32(info, 20));
        byte[] module = Read(BitConverter.ToUInt32(info, 24), 12);
        uint start = BitConverter.ToUInt32(module);
        Assert.Equal(0x201000u, start);
        Assert.Equal(3u, BitConverter.ToUInt32(module, 4) - start);
        Assert.Equal([7, 8, 9], Read(start, 3));
        Assert.Equal("initrd\0", Encoding.ASCII.GetString(Read(BitConverter.ToUInt32(module, 8), 7)));
        Assert.Equal(MemoryMap.ForPc(_memory).Ranges.Count * 24, (int)BitConverter.ToUInt32(info, 44));
        Assert.Equal(20u, BitConverter.ToUInt32(Read(BitConverter.ToUInt32(info, 48), 4)));
    }

    [Fact]
    public void A_kernel_may_lie_low_but_not_where_its_own_information_will_be()
    {
        CpuEntry entry = Load(Samples.Elf(is64: false, pvh: false, multiboot: true, address: 0x8000), null);
        Assert.Equal(0x8010u, entry.Rip);
        Assert.Equal([0xF4], Read(0x8010, 1));
        BootException error = Assert.Throws<BootException>(() => Load(Samples.Elf(is64: false, pvh: false, multiboot: true, address: 0x10000), null));
        Assert.Contains("0x10000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_headers_addresses_place_a_flat_image_and_clear_what_follows()
    {
        Assert.True(_memory.TryWrite(0x100200, (byte[])[1]));
        CpuEntry entry = Load(Samples.FlatMultiboot(), null);
        Assert.Equal(0x100080u, entry.Rip);
        Assert.Equal([0xF4], Read(0x100080, 1));
        Assert.Equal([0], Read(0x100200, 1));
    }

    [Fact]
    public void A_required_feature_that_is_not_served_is_named()
    {
        byte[] image = Samples.Elf(is64: false, pvh: false, multiboot: true);
        Samples.Put32(image, 0x204, 0x20);
        Samples.Put32(image, 0x208, unchecked(0u - 0x1BADB002 - 0x20));
        BootException error = Assert.Throws<BootException>(() => Load(image, null));
        Assert.Contains("0x20", error.Message, StringComparison.Ordinal);
    }

    private CpuEntry Load(byte[] image, byte[]? module) => BootImage.Recognise(Samples.File(image)).Load(_memory, new BootRequest
    {
        CommandLine = "args",
        Initrd = module is null ? null : new BootFile("/some/where/initrd", module),
        MemoryMap = MemoryMap.ForPc(_memory),
    });

    private byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return bytes;
    }
}
