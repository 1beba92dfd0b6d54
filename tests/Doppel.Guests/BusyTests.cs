using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Disks written, frames streaming, a timer always armed, somebody typing, a reboot under way: at that moment the machine is suspended, reverted, cloned, moved or gets another engine.</summary>
[Collection("Debian")]
public sealed class BusyTests(DebianImage debian, ITestOutputHelper output) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-busy-").FullName;
    private readonly List<MigrationTarget> _targets = [];

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public Task A_guest_with_all_devices_busy_goes_on_whatever_is_done_with_it() => DisturbAsync(1);

    [Fact]
    [Trait("Category", "Slow")]
    public Task The_same_many_times() => DisturbAsync(25);

    private async Task DisturbAsync(int rounds)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        DiskSpec[] disks = [new DiskSpec { Path = Disk("virtio") }, new DiskSpec { Path = Disk("nvme"), Interface = DiskInterface.Nvme }];
        VirtualMachine machine = (await DebianGuest.BootAsync(debian.Image, spec => spec with { Cpus = 2, Engine = EngineNames.Translator, Entropy = true, Disks = disks, Networks = [new NetworkSpec()] })).Machine;
        try
        {
            await LoadAsync(new DebianGuest(machine));
            for (int round = 0; round < rounds; round++)
            {
                string[] all = ["engine", "revert", "suspend", "clone", "move"];
                random.Shuffle(all);
                foreach (string what in all)
                {
                    await Task.Delay(random.Next(400));
                    output.WriteLine(what);
                    string typed = await TypeHalfAsync(machine, what, random);
                    machine = await DoAsync(machine, what, random);
                    await TypeRestAsync(machine, typed);
                    await VerifyAsync(new DebianGuest(machine));
                }
            }

            // A reboot under way: what was asked for comes, and the guest is as new.
            string last = random.Next(2) == 0 ? "suspend" : "move";
            output.WriteLine($"reboot, {last}");
            machine.Console.WriteLine("reboot -f");
            await Task.Delay(random.Next(600));
            machine = await DoAsync(machine, last, random);
            machine.Console.Write("\r");
            _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
            machine.Console.WriteLine("echo al''ive");
            _ = await machine.Console.ReadUntilAsync("alive", DebianGuest.Patience);
        }
        finally
        {
            await machine.DisposeAsync();
            foreach (MigrationTarget target in _targets)
                await target.DisposeAsync();
        }
    }

    private static async Task LoadAsync(DebianGuest guest)
    {
        foreach (string disk in new[] { "vda", "nvme0n1" })
            _ = await guest.RunAsync($"(while true; do dd if=/dev/urandom of=/{disk}.r bs=64k count=8; dd if=/{disk}.r of=/dev/{disk} bs=16k oflag=direct; dd if=/dev/{disk} of=/{disk}.b bs=16k count=32 iflag=direct; cmp -s /{disk}.r /{disk}.b && echo o''k-{disk}- >>/log || echo BA''D-{disk}- >>/log; done) 2>/dev/null &");
        // Uptime, as timers have it, never goes back.
        _ = await guest.RunAsync("(b=0; while sleep 0.05; do read a x </proc/uptime; a=${a%.*}${a#*.}; [ $a -ge $b ] && echo o''k-time- >>/log || echo BA''D-time- >>/log; b=$a; done) &");
        _ = await guest.RunAsync("for i in $(seq 300); do ip -4 addr show eth0 2>/dev/null | grep -q inet && break; sleep 0.1; done");
        _ = await guest.RunAsync("(while true; do ping -q -c 20 -i 0.02 -W 2 -s 3000 10.0.2.2 | grep -q ' 0% packet loss' && echo o''k-net- >>/log || echo lost-net- >>/log; done) 2>/dev/null &");
    }

    // In the middle of a line. What the guest has not read yet goes along where the process or the machine stays, or moves; a saved machine doesn't have it.
    private static async Task<string> TypeHalfAsync(VirtualMachine machine, string what, Random random)
    {
        string half = $"echo ty''ped-{random.Next(100_000, 1_000_000)}";
        machine.Console.Write(half);
        if (what is not ("move" or "engine"))
            _ = await machine.Console.ReadUntilAsync(half, DebianGuest.Patience);
        return half;
    }

    private static async Task TypeRestAsync(VirtualMachine machine, string half)
    {
        machine.Console.Write("-whole\r");
        _ = await machine.Console.ReadUntilAsync(half.Replace("echo ty''ped", "typed", StringComparison.Ordinal) + "-whole", DebianGuest.Patience);
        _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
    }

    private static async Task VerifyAsync(DebianGuest guest)
    {
        Assert.Equal("0", await guest.RunAsync("grep -c BAD /log"));
        // Everything works again, not only as far as it had come.
        _ = await guest.RunAsync(">/log; while ! { grep -q ok-vda /log && grep -q ok-nvme /log && grep -q ok-time /log && grep -q ok-net /log; }; do sleep 0.2; done");
        Assert.Equal("0", await guest.RunAsync("grep -c BAD /log"));
        Assert.Equal("none", await guest.RunAsync("dmesg | grep -iE 'I/O error|stall|timeout|lockup' || echo none"));
    }

    private async Task<VirtualMachine> DoAsync(VirtualMachine machine, string what, Random random)
    {
        var store = new SnapshotStore(Path.Combine(_directory, "snapshots"));
        switch (what)
        {
            case "engine":
                await machine.ChangeEngineAsync(EngineNames.Interpreter);
                await Task.Delay(random.Next(200));
                await machine.ChangeEngineAsync(EngineNames.Translator);
                return machine;
            case "revert":
                SaveResult saved = await machine.SaveAsync(store, new SaveOptions());
                await Task.Delay(random.Next(300));
                using (SnapshotReader reader = SnapshotReader.Open(saved.Folder))
                    await machine.RevertAsync(reader);
                return machine;
            case "suspend":
                SaveResult suspended = await machine.SaveAsync(new SnapshotStore(Path.Combine(_directory, $"suspended{random.Next()}")), new SaveOptions { Ends = true });
                await machine.DisposeAsync();
                using (SnapshotReader reader = SnapshotReader.Open(suspended.Folder))
                {
                    VirtualMachine resumed = VirtualMachine.Restore(reader);
                    resumed.Start();
                    return resumed;
                }

            case "clone":
                // Both go on, and neither sees what the other writes.
                var state = new StateDirectory(Path.Combine(_directory, "state"));
                string name = $"clone{random.Next()}";
                SaveResult passing = await machine.SaveAsync(store, new SaveOptions { IsPassing = true });
                new SnapshotCloner(state).Clone(passing.Folder, name);
                using (SnapshotReader reader = SnapshotReader.Open(state.SuspendedOf(name).Find(StateDirectory.SuspendedName)))
                {
                    VirtualMachine clone = VirtualMachine.Restore(reader);
                    clone.Start();
                    machine.Console.Write("\r");
                    _ = await machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
                    await VerifyAsync(new DebianGuest(machine));
                    await machine.DisposeAsync();
                    return clone;
                }

            default:
                MigrationListener listener = MigrationListener.OnSocket(Path.Combine(_directory, $"m{_targets.Count}"), Guid.NewGuid());
                var target = new MigrationTarget(listener, new ArrivalOptions { Name = machine.Spec.Name, Folder = _directory }, new NoJournal());
                _targets.Add(target);
                Task<VirtualMachine> arriving = target.ReceiveAsync(CancellationToken.None);
                MigrationProgress end = await new MigrationSource(machine, listener.Address, new MigrationOptions(), new NoJournal()).RunAsync(CancellationToken.None);
                Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
                VirtualMachine moved = await arriving;
                await machine.DisposeAsync();
                return moved;
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
