using System.Diagnostics;
using System.Security.Cryptography;
using System.Threading.Channels;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>A guest whose host runs out of room.</summary>
[Collection("Debian")]
public sealed class FullHostTests(DebianImage debian) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-full-").FullName;
    private bool _isMounted;

    public void Dispose()
    {
        if (_isMounted)
            _ = Run("umount", _directory);
        Directory.Delete(_directory, recursive: true);
    }

    [MountTheory]
    [InlineData(DiskInterface.Virtio)]
    [InlineData(DiskInterface.Nvme)]
    public async Task The_machine_pauses_while_its_host_is_full_and_loses_nothing(DiskInterface controller)
    {
        _isMounted = Run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", _directory) == 0;
        Assert.True(_isMounted);
        Channel<string> told = Channel.CreateUnbounded<string>();
        string disk = Path.Combine(_directory, "disk.img");
        using (FileStream file = File.Create(disk))
            file.SetLength(64 << 20);
        await using var machine = VirtualMachine.Create(
            TestedMachine.Describe(debian.Image) with { Engine = EngineNames.Translator, Disks = [new DiskSpec { Path = disk, Interface = controller }] },
            new MachineConnections { Paused = why => told.Writer.TryWrite(why), Resumed = () => told.Writer.TryWrite("goes on") });
        var guest = new DebianGuest(machine);
        machine.Start();
        await guest.PrepareAsync();
        string device = controller == DiskInterface.Nvme ? "/dev/nvme0n1" : "/dev/vda";
        Assert.Equal("0", await guest.RunAsync($"dd if=/dev/urandom of=/tmp/data bs=1M count=40 2>/dev/null; echo $?"));
        string sum = await guest.RunAsync("sha256sum < /tmp/data | cut -d' ' -f1");
        machine.Console.WriteLine($"dd if=/tmp/data of={device} bs=1M oflag=direct 2>&1; echo code=$?");
        using var patience = new CancellationTokenSource(DebianGuest.Patience);
        Assert.Contains("no room for the image", await told.Reader.ReadAsync(patience.Token), StringComparison.Ordinal);
        Assert.Equal(VmState.Paused, machine.State);

        // Somebody lets it go on though nothing has changed: it pauses again.
        machine.Resume();
        Assert.Contains("no room for the image", await told.Reader.ReadAsync(patience.Token), StringComparison.Ordinal);
        Assert.Equal(0, Run("mount", "-o", "remount,size=80m", _directory));
        Assert.Equal("goes on", await told.Reader.ReadAsync(patience.Token));
        _ = await machine.Console.ReadUntilAsync("code=0", DebianGuest.Patience);
        _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Equal(sum, await guest.RunAsync($"blockdev --flushbufs {device}; head -c {40 << 20} {device} | sha256sum | cut -d' ' -f1"));
        byte[] written = new byte[40 << 20];
        using FileStream image = new(disk, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        await image.ReadExactlyAsync(written, patience.Token);
        Assert.Equal(sum, Convert.ToHexStringLower(SHA256.HashData(written)));
    }

    private static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        _ = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }

    private sealed class MountTheoryAttribute : TheoryAttribute
    {
        private static readonly Lazy<bool> s_canMount = new(CanMount);

        public MountTheoryAttribute()
        {
            if (!s_canMount.Value)
                Skip = "only a user who may mount can make a file system that is full";
        }

        private static bool CanMount()
        {
            string directory = Directory.CreateTempSubdirectory("doppel-full-").FullName;
            try
            {
                return Run("mount", "-t", "tmpfs", "tmpfs", directory) == 0 && Run("umount", directory) == 0;
            }
            finally
            {
                Directory.Delete(directory);
            }
        }
    }
}
