using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Boot;

public sealed class PvhElfLoaderTests : IDisposable
{
    private readonly GuestMemory _memory = new(32 << 20);

    public void Dispose() => _memory.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_entry_is_the_one_of_the_note_and_EBX_points_at_the_start_information(bool is64)
    {
        byte[] dirt = [1, 2, 3];
        Assert.True(_memory.TryWrite(0x200800, dirt));
        CpuEntry entry = Load(Samples.Elf(is64), new byte[100]);
        Assert.Equal(CpuEntryMode.Protected32, entry.Mode);
        Assert.Equal(0x200040u, entry.Rip);
        byte[] info = Read(entry.Rbx, 56);
        Assert.Equal(0x336EC578u, BitConverter.ToUInt32(info));
        Assert.Equal(1u, BitConverter.ToUInt32(info, 4));
        Assert.Equal(1u, BitConverter.ToUInt32(info, 12));
        ulong module = BitConverter.ToUInt64(info, 16);
        Assert.Equal(100u, BitConverter.ToUInt64(Read(module, 32), 8));
        Assert.Equal("hi\0", Encoding.ASCII.GetString(Read(BitConverter.ToUInt64(info, 24), 3)));
        Assert.Equal(0xE0000u, BitConverter.ToUInt64(info, 32));
        ulong map = BitConverter.ToUInt64(info, 40);
        Assert.Equal(MemoryMap.ForPc(_memory).Ranges.Count, (int)BitConverter.ToUInt32(info, 48));
        Assert.Equal(0x9FC00u, BitConverter.ToUInt64(Read(map, 24), 8));
        Assert.Equal([0, 0, 0], Read(0x200800, 3));
    }

    [Fact]
    public void An_ELF_file_without_an_entry_for_boot_loaders_is_refused()
    {
        BootException error = Assert.Throws<BootException>(() => Load(Samples.Elf(pvh: false), null));
        Assert.Equal(BootError.Unsupported, error.Error);
    }

    [Fact]
    public void A_segment_outside_the_memory_is_refused()
    {
        byte[] image = Samples.Elf();
        image[64 + 24 + 3] = 0x40;
        BootException error = Assert.Throws<BootException>(() => Load(image, null));
        Assert.Equal(BootError.TooLarge, error.Error);
    }

    private CpuEntry Load(byte[] image, byte[]? initrd) => BootImage.Recognise(Samples.File(image)).Load(_memory, new BootRequest
    {
        CommandLine = "hi",
        Initrd = initrd is null ? null : new BootFile("initrd", initrd),
        MemoryMap = MemoryMap.ForPc(_memory),
        RsdpAddress = 0xE0000,
    });

    private byte[] Read(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(_memory.TryRead(address, bytes));
        return bytes;
    }
}
