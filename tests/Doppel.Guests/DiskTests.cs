using System.Security.Cryptography;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>Debian's own drivers on virtio and NVMe disks.</summary>
[Collection("Debian")]
public sealed class DiskTests(DebianImage debian) : IDisposable
{
    private const int Mebibytes = 32;
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-disk-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_guest_reads_and_writes_its_disks()
    {
        byte[] content = RandomNumberGenerator.GetBytes(Mebibytes << 20);
        string first = Write("first.img", content), second = Write("second.img", content[..(4 << 20)]);
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with
        {
            Engine = EngineNames.Translator,
            Cpus = 2,
            Disks = [new DiskSpec { Path = first, Serial = "doppel-first" }, new DiskSpec { Path = second, IsReadOnly = true }],
        });
        Assert.Equal("doppel-first", await guest.RunAsync("cat /sys/block/vda/serial; echo"));
        Assert.Equal("1", await guest.RunAsync("cat /sys/block/vdb/ro"));
        Assert.Equal((Mebibytes << 11).ToString(), await guest.RunAsync("cat /sys/block/vda/size"));
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /dev/vda | cut -d' ' -f1"));
        Assert.Equal(Sum(content[..(4 << 20)]), await guest.RunAsync("sha256sum < /dev/vdb | cut -d' ' -f1"));
        Assert.Contains("not permitted", await guest.RunAsync("dd if=/dev/zero of=/dev/vdb bs=512 count=1"), StringComparison.Ordinal);

        // The second mebibyte goes over the first, directly; the last is discarded.
        Assert.Equal("0", await guest.RunAsync("dd if=/dev/vda of=/dev/vda bs=1M skip=1 count=1 oflag=direct iflag=direct 2>/dev/null; echo $?"));
        Assert.Equal("0", await guest.RunAsync($"blkdiscard -o {(Mebibytes - 1) << 20} -l {1 << 20} /dev/vda; echo $?"));
        content.AsSpan(1 << 20, 1 << 20).CopyTo(content);
        content.AsSpan((Mebibytes - 1) << 20).Clear();
        Assert.Equal(Sum(content), await guest.RunAsync("blockdev --flushbufs /dev/vda; sha256sum < /dev/vda | cut -d' ' -f1"));
        Assert.Equal(content, await File.ReadAllBytesAsync(first));

        // Nothing is lost while the machine stands still in the middle of work.
        guest.Machine.Console.WriteLine("dd if=/dev/vda bs=4k iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1");
        for (int i = 0; i < 5; i++)
        {
            await Task.Delay(50);
            await guest.Machine.PauseAsync();
            guest.Machine.Resume();
        }

        string answer = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Contains(Sum(content), answer, StringComparison.Ordinal);

        guest.Machine.Console.WriteLine("reboot -f");
        await guest.PrepareAsync();
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /dev/vda | cut -d' ' -f1"));
    }

    [Fact]
    public async Task A_guest_reads_and_writes_an_nvme_disk_without_modules()
    {
        byte[] content = RandomNumberGenerator.GetBytes(Mebibytes << 20);
        string path = Write("disk.img", content);
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with
        {
            Engine = EngineNames.Translator,
            Cpus = 2,
            Disks = [new DiskSpec { Path = path, Serial = "doppel-nvme", Interface = DiskInterface.Nvme }],
        });
        Assert.Equal("doppel-nvme", (await guest.RunAsync("cat /sys/class/nvme/nvme0/serial")).Trim());
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /dev/nvme0n1 | cut -d' ' -f1"));
        Assert.Equal("0", await guest.RunAsync("dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M skip=1 count=1 oflag=direct iflag=direct 2>/dev/null; echo $?"));
        Assert.Equal("0", await guest.RunAsync($"blkdiscard -o {(Mebibytes - 1) << 20} -l {1 << 20} /dev/nvme0n1; echo $?"));
        content.AsSpan(1 << 20, 1 << 20).CopyTo(content);
        content.AsSpan((Mebibytes - 1) << 20).Clear();
        guest.Machine.Console.WriteLine("dd if=/dev/nvme0n1 bs=4k iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1");
        for (int i = 0; i < 5; i++)
        {
            await Task.Delay(50);
            await guest.Machine.PauseAsync();
            guest.Machine.Resume();
        }

        Assert.Contains(Sum(content), await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience), StringComparison.Ordinal);
        Assert.Equal(content, await File.ReadAllBytesAsync(path));
        guest.Machine.Console.WriteLine("reboot -f");
        await guest.PrepareAsync();
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /dev/nvme0n1 | cut -d' ' -f1"));
    }

    private static string Sum(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));

    private string Write(string name, byte[] content)
    {
        string path = Path.Combine(_directory, name);
        File.WriteAllBytes(path, content);
        return path;
    }
}
