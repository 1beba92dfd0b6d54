using System.Security.Cryptography;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>Debian's own driver on shared folders, which the default guest mounts by itself.</summary>
[Collection("Debian")]
public sealed class VolumeTests(DebianImage debian) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-volume-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_guest_works_in_folders_of_the_host_and_nowhere_else()
    {
        string shared = Directory.CreateDirectory(Path.Combine(_directory, "shared")).FullName, fixedFolder = Directory.CreateDirectory(Path.Combine(_directory, "fixed")).FullName;
        byte[] content = RandomNumberGenerator.GetBytes((10 << 20) + 123);
        File.WriteAllBytes(Path.Combine(shared, "big"), content);
        File.WriteAllText(Path.Combine(fixedFolder, "note"), "as it was");
        File.WriteAllText(Path.Combine(_directory, "secret"), "of the host");
        _ = File.CreateSymbolicLink(Path.Combine(shared, "up"), "../secret");
        _ = File.CreateSymbolicLink(Path.Combine(shared, "away"), Path.Combine(_directory, "secret"));
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with
        {
            Engine = EngineNames.Translator,
            Cpus = 2,
            Volumes = [new VolumeSpec { HostPath = shared, GuestPath = "/srv/shared" }, new VolumeSpec { HostPath = fixedFolder, GuestPath = "/mnt/fixed", IsReadOnly = true }],
        });

        Assert.Equal("virtiofs", await guest.RunAsync("stat -f -c %T /srv/shared | grep -o fuse >/dev/null; grep -o 'srv/shared virtiofs' /proc/mounts | cut -d' ' -f2"));
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /srv/shared/big | cut -d' ' -f1"));
        Assert.Equal("0", await guest.RunAsync("cp /srv/shared/big /srv/shared/copy && mkdir -p /srv/shared/a/b && mv /srv/shared/copy /srv/shared/a/b/c; echo $?"));
        Assert.Equal(Sum(content), Sum(await File.ReadAllBytesAsync(Path.Combine(shared, "a/b/c"))));
        Assert.Equal("0", await guest.RunAsync("printf abcdef > /srv/shared/f; printf X | dd of=/srv/shared/f bs=1 seek=2 conv=notrunc 2>/dev/null; printf g >> /srv/shared/f; truncate -s 6 /srv/shared/f; echo $?"));
        Assert.Equal("abXdef", File.ReadAllText(Path.Combine(shared, "f")));

        // Links of the host lead to what the guest has there, which is nothing.
        Assert.Contains("No such file", await guest.RunAsync("cat /srv/shared/up"), StringComparison.Ordinal);
        Assert.Contains("No such file", await guest.RunAsync("cat /srv/shared/away"), StringComparison.Ordinal);
        Assert.Equal("shared", await guest.RunAsync("(cd /srv/shared/..; ls)"));

        // What the host changes is seen, and many files are.
        File.WriteAllText(Path.Combine(shared, "f"), "changed on the host");
        for (int i = 0; i < 500; i++)
            File.WriteAllText(Path.Combine(shared, "a", $"file{i}"), "x");
        Assert.Equal("changed on the host", await guest.RunAsync("sleep 1; cat /srv/shared/f; echo"));
        Assert.Equal("501", await guest.RunAsync("find /srv/shared/a -type f | wc -l"));
        Assert.Equal("0", await guest.RunAsync("rm -rf /srv/shared/a; echo $?"));
        Assert.False(Directory.Exists(Path.Combine(shared, "a")));

        Assert.Equal("as it was", await guest.RunAsync("cat /mnt/fixed/note; echo"));
        Assert.Contains("Read-only", await guest.RunAsync("mount -o remount,rw /mnt/fixed; echo x > /mnt/fixed/note"), StringComparison.Ordinal);
        Assert.Contains("Read-only", await guest.RunAsync("rm /mnt/fixed/note"), StringComparison.Ordinal);

        // A program of the guest's may have a file open while the machine stands still.
        guest.Machine.Console.WriteLine("for i in $(seq 300); do echo $i >> /srv/shared/log; done");
        for (int i = 0; i < 5; i++)
        {
            await Task.Delay(30);
            await guest.Machine.PauseAsync();
            guest.Machine.Resume();
        }

        _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Equal(Enumerable.Range(1, 300).Select(i => i.ToString(System.Globalization.CultureInfo.InvariantCulture)), await File.ReadAllLinesAsync(Path.Combine(shared, "log")));
        guest.Machine.Console.WriteLine("reboot -f");
        await guest.PrepareAsync();
        Assert.Equal(Sum(content), await guest.RunAsync("sha256sum < /srv/shared/big | cut -d' ' -f1"));
    }

    private static string Sum(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));
}
