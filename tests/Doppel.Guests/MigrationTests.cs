using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Migration;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Debian moves in the middle of its work, and goes on.</summary>
[Collection("Debian")]
public sealed class MigrationTests(DebianImage debian, ITestOutputHelper output) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-migrate-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public Task A_guest_whose_devices_are_busy_moves_under_either_engine_and_finds_its_data() => MoveAsync(6);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_guest_whose_devices_are_busy_moves_200_times() => MoveAsync(200);

    private async Task MoveAsync(int times)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        DiskSpec[] disks = [new DiskSpec { Path = Disk("virtio") }, new DiskSpec { Path = Disk("nvme"), Interface = DiskInterface.Nvme }];
        DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with { Cpus = 2, Engine = EngineNames.Translator, Entropy = true, Balloon = true, Disks = disks });
        var targets = new List<MigrationTarget>();
        try
        {
            // Both disks are written and compared, a timer is always armed, and its clock must not go back.
            foreach (string disk in new[] { "vda", "nvme0n1" })
                _ = await guest.RunAsync($"(while true; do dd if=/dev/urandom of=/{disk}.r bs=64k count=8; dd if=/{disk}.r of=/dev/{disk} bs=16k oflag=direct; dd if=/dev/{disk} of=/{disk}.b bs=16k count=32 iflag=direct; cmp -s /{disk}.r /{disk}.b && echo o''k-{disk}- >>/log || echo BA''D-{disk}- >>/log; done) 2>/dev/null &");
            _ = await guest.RunAsync("(b=0; while sleep 0.05; do read a x </proc/uptime; a=${a%.*}${a#*.}; [ $a -ge $b ] && echo o''k-time- >>/log || echo BA''D-time- >>/log; b=$a; done) &");
            double longest = 0;
            for (int i = 0; i < times; i++)
            {
                await Task.Delay(random.Next(300));
                string word = $"w{random.Next(1000000)}";
                VirtualMachine before = guest.Machine;
                MigrationListener listener = MigrationListener.OnSocket(Path.Combine(_directory, $"m{i}"), Guid.NewGuid());
                var target = new MigrationTarget(listener, new ArrivalOptions { Name = before.Spec.Name, Folder = _directory, Engine = EngineNames.All[random.Next(2)] }, new NoJournal());
                targets.Add(target);
                Task<VirtualMachine> arriving = target.ReceiveAsync(CancellationToken.None);
                var source = new MigrationSource(before, listener.Address, new MigrationOptions { Connections = random.Next(1, 4) }, new NoJournal());
                Task<MigrationProgress> moving = source.RunAsync(CancellationToken.None);
                // Typed at any moment of the move: what the guest has not read comes along.
                before.Console.Write($"echo {word[..3]}'{word[3..]}'\r");
                MigrationProgress end = await moving;
                Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
                output.WriteLine($"{end.Seconds:0.000} s, {end.Round} rounds, stood still for {end.DowntimeSeconds * 1000:0.0} ms");
                longest = Math.Max(longest, end.DowntimeSeconds!.Value);
                string said = before.Console.Transcript;
                guest = new DebianGuest(await arriving);
                await before.DisposeAsync();
                // Its answer came before the move or after it.
                if (!said.Contains($"\n{word}\r", StringComparison.Ordinal))
                    _ = await guest.Machine.Console.ReadUntilAsync(word, DebianGuest.Patience);
                _ = await guest.RunAsync("echo");
            }

            output.WriteLine($"longest {longest * 1000:0.0} ms");
            Assert.Equal("0", await guest.RunAsync("grep -c BAD /log"));
            _ = await guest.RunAsync(">/log; while ! { grep -q ok-vda /log && grep -q ok-nvme /log && grep -q ok-time /log; }; do sleep 0.2; done");
            Assert.Equal("0", await guest.RunAsync("grep -c BAD /log"));
            Assert.Equal("none", await guest.RunAsync("dmesg | grep -iE 'error|stall|timeout|lockup|reset' || echo none"));
        }
        finally
        {
            await guest.DisposeAsync();
            foreach (MigrationTarget target in targets)
                await target.DisposeAsync();
        }
    }

    private string Disk(string name)
    {
        string path = Path.Combine(_directory, name + ".qcow2");
        DiskImages.Create(path, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 64 << 20 });
        return path;
    }

    private sealed class NoJournal : IMigrationJournal
    {
        public void Permit()
        {
        }

        public void TakeBack()
        {
        }

        public void Accept()
        {
        }
    }
}
