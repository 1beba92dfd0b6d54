using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Xunit.Abstractions;

namespace Doppel.Vmm.Tests.Boot;

public sealed class DamagedImageTests(ITestOutputHelper output) : IDisposable
{
    private readonly GuestMemory _memory = new(16 << 20);

    public static TheoryData<string> Kinds => ["bzImage", "pvh64", "pvh32", "multiboot", "flat"];

    public void Dispose() => _memory.Dispose();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void An_image_cut_anywhere_boots_or_is_refused_with_one_line(string kind)
    {
        byte[] whole = Image(kind);
        int refused = 0;
        for (int length = 0; length < whole.Length; length++)
            refused += Try(whole[..length]) ? 0 : 1;
        Assert.True(Try(whole));
        Assert.InRange(refused, whole.Length / 4, whole.Length);
    }

    [Fact]
    public void A_bzImage_cut_anywhere_behind_its_magic_is_called_truncated_with_the_missing_bytes()
    {
        byte[] whole = Image("bzImage");
        for (int length = 0x206; length <= whole.Length - 16; length += 7)
        {
            BootException error = Assert.Throws<BootException>(() => Load(whole[..length]));
            Assert.Equal(BootError.Truncated, error.Error);
            Assert.Contains($"the file ends at byte {length}", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void An_image_with_any_one_bit_flipped_boots_or_is_refused_with_one_line(string kind)
    {
        byte[] image = Image(kind);
        int end = kind == "bzImage" ? 0x290 : image.Length;
        for (int i = kind == "bzImage" ? 0x1F0 : 0; i < end; i++)
        {
            for (int bit = 0; bit < 8; bit++)
            {
                image[i] ^= (byte)(1 << bit);
                _ = Try(image);
                image[i] ^= (byte)(1 << bit);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void An_image_with_random_damage_boots_or_is_refused_with_one_line(string kind)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        byte[] whole = Image(kind);
        for (int round = 0; round < 2000; round++)
        {
            byte[] image = (byte[])whole.Clone();
            for (int i = random.Next(1, 8); i > 0; i--)
                image[random.Next(Math.Min(image.Length, 0x300))] = random.Next(3) == 0 ? (byte)0xFF : (byte)random.Next(256);
            _ = Try(image);
        }
    }

    [Fact]
    public void Files_that_are_no_kernels_are_refused_by_name()
    {
        BootException text = Assert.Throws<BootException>(() => Load("#!/bin/sh\necho\n"u8.ToArray()));
        Assert.Equal(BootError.NotAKernel, text.Error);
        Assert.Contains("sample: not a kernel (first bytes 23212f62696e2f73)", text.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_file_a_directory_and_an_empty_file_are_refused_by_name()
    {
        string directory = Directory.CreateTempSubdirectory("doppel-test-").FullName;
        try
        {
            string missing = Path.Combine(directory, "no", "kernel");
            Assert.Equal($"{missing}: the kernel does not exist", Assert.Throws<BootException>(() => BootImage.Open(missing)).Message);
            Assert.Equal(BootError.Unreadable, Assert.Throws<BootException>(() => BootImage.Open(directory)).Error);
            string empty = Path.Combine(directory, "empty");
            File.WriteAllBytes(empty, []);
            Assert.Equal(BootError.Truncated, Assert.Throws<BootException>(() => BootImage.Open(empty)).Error);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static byte[] Image(string kind) => kind switch
    {
        "bzImage" => Samples.BzImage(preferred: 0x400000, initSize: 0x100000),
        "pvh64" => Samples.Elf(),
        "pvh32" => Samples.Elf(is64: false),
        "multiboot" => Samples.Elf(is64: false, pvh: false, multiboot: true),
        _ => Samples.FlatMultiboot(),
    };

    private bool Try(byte[] image)
    {
        try
        {
            _ = Load(image);
            return true;
        }
        catch (BootException e)
        {
            Assert.DoesNotContain('\n', e.Message);
            Assert.NotEmpty(e.Message);
            return false;
        }
    }

    private CpuEntry Load(byte[] image) =>
        BootImage.Recognise(Samples.File(image)).Load(_memory, new BootRequest { MemoryMap = MemoryMap.ForPc(_memory) });
}
