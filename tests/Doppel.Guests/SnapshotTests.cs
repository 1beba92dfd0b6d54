using System.Diagnostics;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Snapshots;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Debian is saved in the middle of its work, and goes on.</summary>
[Collection("Debian")]
public sealed class SnapshotTests(DebianImage debian, ITestOutputHelper output) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-snapshot-").FullName;

    private SnapshotStore Store => new(Path.Combine(_directory, "snapshots"));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_guest_that_writes_to_its_disks_is_saved_at_any_moment_and_finds_its_data_under_either_engine()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var saved = new List<SaveResult>();
        DiskSpec[] disks = [new DiskSpec { Path = Disk("virtio") }, new DiskSpec { Path = Disk("nvme"), Interface = DiskInterface.Nvme }];
        await using (DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with { Cpus = 2, Engine = EngineNames.Translator, Entropy = true, Balloon = true, Disks = disks }))
        {
            // Data, interrupts, timers and processes on both vCPUs, and a check of all that was written.
            foreach (string disk in new[] { "vda", "nvme0n1" })
                _ = await guest.RunAsync($"(while true; do dd if=/dev/urandom of=/{disk}.r bs=64k count=8; dd if=/{disk}.r of=/dev/{disk} bs=16k oflag=direct; dd if=/dev/{disk} of=/{disk}.b bs=16k count=32 iflag=direct; cmp -s /{disk}.r /{disk}.b && echo o''k-{disk}- >/dev/console || echo BA''D-{disk}- >/dev/console; done) 2>/dev/null &");
            for (int i = 0; i < 4; i++)
            {
                await Task.Delay(random.Next(300));
                saved.Add(await guest.Machine.SaveAsync(Store, new SaveOptions()));
                output.WriteLine($"{saved[^1].Manifest.Name}: {saved[^1].Manifest.Pages} pages, stopped for {saved[^1].Stopped.TotalMilliseconds} ms, checks of {saved[^1].LongestCheck.TotalMilliseconds} ms");
            }

            Assert.DoesNotContain("BAD-", guest.Machine.Console.Transcript, StringComparison.Ordinal);
        }

        for (int i = 0; i < saved.Count; i++)
        {
            long begin = Stopwatch.GetTimestamp();
            using SnapshotReader snapshot = SnapshotReader.Open(saved[i].Folder);
            await using VirtualMachine machine = VirtualMachine.Restore(snapshot, spec => spec with { Engine = EngineNames.All[i % 2] });
            machine.Start();
            while (machine.GetStatistics().Total.Instructions == 0)
                await Task.Yield();
            output.WriteLine($"{saved[i].Manifest.Name}: first instruction after {Stopwatch.GetElapsedTime(begin).TotalMilliseconds} ms");
            foreach (string disk in new[] { "vda", "nvme0n1", "vda", "nvme0n1" })
                _ = await machine.Console.ReadUntilAsync($"ok-{disk}-", DebianGuest.Patience);
            Assert.DoesNotContain("BAD-", machine.Console.Transcript, StringComparison.Ordinal);
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public async Task A_boot_on_deterministic_time_that_is_saved_at_random_moments_takes_the_same_way()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        // The shell as the first process ends at once, for there is nobody to type, and the kernel with it.
        MachineSpec spec = MachineSpec.ForImage(debian.Image) with { Clock = ClockKind.Instructions, Engine = EngineNames.Translator, RebootOnReset = false };
        spec = spec with { CommandLine = spec.CommandLine + " rdinit=/bin/busybox" };
        (string whole, ulong instructions) = await RunAsync(VirtualMachine.Create(spec), null);
        var saved = new List<(SaveResult Result, ulong Before)>();
        (string text, ulong again) = await RunAsync(VirtualMachine.Create(spec), async machine =>
        {
            try
            {
                for (int i = 0; i < 8; i++)
                {
                    await Task.Delay(random.Next(600));
                    await machine.PauseAsync();
                    saved.Add((await machine.SaveAsync(Store, new SaveOptions()), machine.GetStatistics().Total.Instructions));
                    machine.Resume();
                }
            }
            catch (SnapshotException)
            {
                // It has ended meanwhile.
            }
        });
        Assert.Equal((whole, instructions), (text, again));
        foreach ((SaveResult result, ulong before) in saved)
        {
            output.WriteLine($"{result.Manifest.Name} after {before} of {instructions} instructions");
            using SnapshotReader snapshot = SnapshotReader.Open(result.Folder);
            (string rest, ulong later) = await RunAsync(VirtualMachine.Restore(snapshot), null);
            Assert.Equal(instructions - before, later);
            Assert.EndsWith(rest, whole, StringComparison.Ordinal);
        }
    }

    private static async Task<(string Text, ulong Instructions)> RunAsync(VirtualMachine machine, Func<VirtualMachine, Task>? meanwhile)
    {
        await using VirtualMachine ends = machine;
        machine.Start();
        if (meanwhile is not null)
            await meanwhile(machine);
        Assert.Equal(VmExitKind.GuestCrash, (await machine.WaitAsync().WaitAsync(DebianGuest.Patience)).Kind);
        return (machine.Console.Transcript, machine.InstructionsRetired);
    }

    private string Disk(string name)
    {
        string path = Path.Combine(_directory, name + ".qcow2");
        DiskImages.Create(path, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 64 << 20 });
        return path;
    }
}
