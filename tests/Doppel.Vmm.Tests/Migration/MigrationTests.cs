using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Firmware;
using Doppel.Vmm.Tests.Snapshots;
using Xunit.Abstractions;

namespace Doppel.Vmm.Tests.Migration;

/// <summary>Machines that move inside this process, over real sockets.</summary>
public sealed class MigrationTests(ITestOutputHelper output) : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-m-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private MachineSpec Spec(uint sweep, string engine, int stride = 256)
    {
        string kernel = Path.Combine(_folder, "kernel");
        File.WriteAllBytes(kernel, SweepGuest.Create(sweep, stride));
        return new MachineSpec { Name = "sweep", Kernel = kernel, Memory = 64 << 20, Engine = engine };
    }

    private async Task<MovedMachine> StartAsync(MachineSpec spec)
    {
        var moved = new MovedMachine(_folder, VirtualMachine.Create(spec));
        moved.Machine.Start();
        await moved.SweepAsync(3);
        return moved;
    }

    [Theory]
    [InlineData(EngineNames.Interpreter, EngineNames.Translator)]
    [InlineData(EngineNames.Translator, EngineNames.Interpreter)]
    public async Task A_running_machine_moves_and_goes_on_under_another_engine(string from, string to)
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, from));
        Guid generation = moved.Machine.GenerationId;
        MigrationProgress end = await moved.MoveAsync(engine: to);
        output.WriteLine($"{end}");
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        Assert.Equal(["permit"], moved.Source.Entries);
        Assert.Equal(["accept"], moved.Target.Entries);
        Assert.Equal((to, VmState.Running), (moved.Machine.GetStatistics().Engine, moved.Machine.State));
        // It is the same machine, not a copy of one.
        Assert.Equal(generation, moved.Machine.GenerationId);
        moved.Machine.Console.Write("a");
        _ = await moved.Machine.Console.ReadUntilAsync("b", TimeSpan.FromMinutes(1));
        await moved.SweepAsync(3);
        // What it has there can be saved.
        SaveResult saved = await moved.Machine.SaveAsync(new SnapshotStore(Path.Combine(_folder, "snapshots")), new SaveOptions());
        using SnapshotReader reader = SnapshotReader.Open(saved.Folder);
        await using var restored = new MovedMachine(_folder, VirtualMachine.Restore(reader));
        restored.Machine.Start();
        await restored.SweepAsync(3);
    }

    [Fact]
    public async Task What_the_source_has_translated_the_target_has_too_when_the_guest_goes_on()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Translator));
        ulong before = moved.Machine.GetStatistics().Total.BlocksTranslated;
        Assert.InRange(moved.Machine.GetTranslatedPlaces(CodePlaces.Most).Length, 3, CodePlaces.Most);
        Assert.Equal(MigrationPhase.Completed, (await moved.MoveAsync()).Phase);
        await moved.SweepAsync(3);
        ulong after = moved.Machine.GetStatistics().Total.BlocksTranslated;
        output.WriteLine($"{before} blocks, then {after}");
        Assert.True(after < before, $"{before} blocks were translated at the source, {after} once more at the target");
    }

    [Fact]
    public async Task Nothing_that_a_source_says_of_its_code_harms_the_target()
    {
        int seed = Environment.TickCount;
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        await using VirtualMachine machine = VirtualMachine.CreateForArrival(Spec(1 << 20, EngineNames.Translator), new MachineConnections(), [], []);
        byte[] page = new byte[4096];
        for (ulong address = 0; address < 1 << 20; address += 4096)
        {
            random.NextBytes(page);
            machine.ArrivingMachine.Memory.Store(address, page);
        }

        for (int i = 0; i < 20_000; i++)
            machine.TranslateAhead([random.Next(4) == 0 ? (ulong)random.NextInt64() : (ulong)random.NextInt64(1 << 21) | ((ulong)random.NextInt64(64) << 36)]);
        _ = Assert.Throws<IOException>(() => CodePlaces.Read(new byte[7]));
        _ = Assert.Throws<IOException>(() => CodePlaces.Read(new byte[(CodePlaces.Most + 1) * 8]));
    }

    [Fact]
    public Task A_loaded_machine_moves_back_and_forth_and_loses_nothing() => MoveOftenAsync(8);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_loaded_machine_moves_back_and_forth_200_times_and_loses_nothing() => MoveOftenAsync(Number("DOPPEL_MIGRATIONS") ?? 200);

    private static int? Number(string variable) => int.TryParse(Environment.GetEnvironmentVariable(variable), out int number) ? number : null;

    private async Task MoveOftenAsync(int times)
    {
        int seed = Number("DOPPEL_SEED") ?? Environment.TickCount;
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        await using MovedMachine moved = await StartAsync(Spec(2 << 20, EngineNames.Translator));
        double longest = 0;
        int completed = 0;
        for (int i = 0; i < times; i++)
        {
            var options = new MigrationOptions
            {
                Connections = random.Next(1, 5),
                Compression = (MigrationCompression)random.Next(3),
                Downtime = TimeSpan.FromMilliseconds(random.Next(5, 200)),
                Bandwidth = random.Next(4) == 0 ? 200UL << 20 : 0,
            };
            using var cancel = new CancellationTokenSource();
            if (random.Next(4) == 0)
                cancel.CancelAfter(random.Next(1, 60));
            MigrationProgress end = await moved.MoveAsync(options, random.Next(2) == 0 ? null : EngineNames.All[random.Next(2)], cancel: cancel.Token);
            Assert.True(end.Phase == MigrationPhase.Completed || cancel.IsCancellationRequested, end.ToString());
            completed += end.Phase == MigrationPhase.Completed ? 1 : 0;
            longest = Math.Max(longest, end.DowntimeSeconds ?? 0);
            await moved.SweepAsync(random.Next(1, 3));
        }

        output.WriteLine($"{completed} of {times} completed; the longest downtime was {longest * 1000:0.0} ms");
    }

    [Theory]
    [InlineData("offer")]
    [InlineData("memory")]
    [InlineData("stop")]
    [InlineData("sections")]
    [InlineData("remainder")]
    [InlineData("permit")]
    public async Task Whatever_fails_at_the_source_before_the_hand_over_lets_it_go_on(string step)
    {
        await using MovedMachine moved = await StartAsync(WithDisk());
        MigrationProgress end = await moved.MoveAsync(sourceStep: s => Fail(s, step));
        Assert.Equal((MigrationPhase.Failed, "injected"), (end.Phase, end.Message));
        Assert.Empty(moved.Target.Entries);
        await moved.SweepAsync(3);
        Assert.Equal(VmState.Running, moved.Machine.State);
        Assert.Equal(MigrationPhase.Completed, (await moved.MoveAsync()).Phase);
        await moved.SweepAsync(3);
    }

    [Theory]
    [InlineData("welcome")]
    [InlineData("ready")]
    [InlineData("accept")]
    public async Task Whatever_fails_at_the_target_before_it_accepts_lets_the_source_go_on(string step)
    {
        await using MovedMachine moved = await StartAsync(WithDisk());
        MigrationProgress end = await moved.MoveAsync(targetStep: s => Fail(s, step));
        Assert.Equal(MigrationPhase.Failed, end.Phase);
        Assert.Empty(moved.Target.Entries);
        Assert.Equal(step == "accept" ? ["permit", "take back"] : [], moved.Source.Entries);
        await moved.SweepAsync(3);
        Assert.Equal(MigrationPhase.Completed, (await moved.MoveAsync()).Phase);
        await moved.SweepAsync(3);
    }

    [Fact]
    public async Task A_lost_answer_is_asked_for_again()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Translator));
        // It runs there when the target's thread fails that should say so.
        MigrationProgress end = await moved.MoveAsync(targetStep: s => Fail(s, "running"));
        Assert.Equal(MigrationPhase.Completed, end.Phase);
        await moved.SweepAsync(3);
    }

    [Fact]
    public async Task A_disk_is_open_on_one_side_at_a_time()
    {
        MachineSpec spec = WithDisk();
        string disk = spec.Disks[0].Path;
        await using MovedMachine moved = await StartAsync(spec);
        bool wasFree = false;
        MigrationProgress end = await moved.MoveAsync(sourceStep: step =>
        {
            if (step == "remainder")
            {
                using DiskImage image = DiskImages.Open(disk, new DiskOpenOptions());
                wasFree = true;
            }
            else if (step is "memory" or "permit")
            {
                _ = Assert.Throws<DiskImageException>(() => DiskImages.Open(disk, new DiskOpenOptions()));
            }
        });
        Assert.Equal((MigrationPhase.Completed, true), (end.Phase, wasFree));
        _ = Assert.Throws<DiskImageException>(() => DiskImages.Open(disk, new DiskOpenOptions()));
    }

    [Fact]
    public async Task Disks_are_copied_along()
    {
        string kept = Path.Combine(_folder, "kept.raw"), thrown = Path.Combine(_folder, "thrown.qcow2"), read = Path.Combine(_folder, "read.qcow2");
        DiskImages.Create(kept, new DiskCreateOptions { Format = DiskFormat.Raw, Length = 3 << 20 });
        DiskImages.Create(thrown, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 2 << 20 });
        DiskImages.Create(read, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 2 << 20 });
        (string Path, byte Mark)[] marks = [(kept, 11), (thrown, 22), (read, 33)];
        foreach ((string path, byte mark) in marks)
            MarkedDisk.Write(path, mark);
        MachineSpec spec = Spec(1 << 20, EngineNames.Translator) with
        {
            Disks = [new DiskSpec { Path = kept, Format = DiskFormat.Raw }, new DiskSpec { Path = thrown, IsEphemeral = true }, new DiskSpec { Path = read, IsReadOnly = true, Interface = DiskInterface.Nvme }],
        };
        await using MovedMachine moved = await StartAsync(spec);
        MigrationProgress refused = await moved.MoveAsync();
        Assert.Equal(MigrationPhase.Failed, refused.Phase);
        Assert.Contains("--copy-disks", refused.Message, StringComparison.Ordinal);
        var copying = new MigrationOptions { CopyDisks = true };
        Assert.Equal("injected", (await moved.MoveAsync(copying, sourceStep: s => Fail(s, "permit"))).Message);
        Assert.Empty(Directory.GetFiles(_folder, "disk*.qcow2", SearchOption.AllDirectories));
        MigrationProgress end = await moved.MoveAsync(copying);
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        await moved.SweepAsync(3);
        IReadOnlyList<DiskSpec> there = moved.Machine.Spec.Disks;
        await moved.Machine.DisposeAsync();
        Assert.Equal([kept, thrown, read], there.Select(disk => disk.Identity));
        Assert.Equal(marks.Select(mark => mark.Mark), there.Select(disk => MarkedDisk.Read(disk.Path)));
        // Those that were copied are free again.
        MarkedDisk.Write(kept, 44);
    }

    [Fact]
    public async Task A_guest_that_writes_faster_than_the_link_takes_is_slowed_down()
    {
        await using MovedMachine moved = await StartAsync(Spec(24 << 20, EngineNames.Translator, stride: 4096));
        int throttle = 0;
        MigrationProgress? last = null;
        var options = new MigrationOptions { Bandwidth = 100 << 20, Downtime = TimeSpan.FromMilliseconds(20), Compression = MigrationCompression.None };
        MigrationProgress end = await moved.MoveAsync(options, seen: progress =>
        {
            throttle = Math.Max(throttle, progress.Throttle);
            Assert.True(last is null || progress.Sequence > last.Sequence);
            last = progress;
        });
        output.WriteLine($"{end}");
        Assert.Equal(MigrationPhase.Completed, end.Phase);
        Assert.True(throttle >= Convergence.FirstThrottle);
        await moved.SweepAsync(2);
    }

    [Fact]
    public async Task A_guest_that_resets_the_machine_on_its_way_arrives_as_it_is_then()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Translator));
        int resets = 0;
        VirtualMachine machine = moved.Machine;
        MigrationProgress end = await moved.MoveAsync(sourceStep: step =>
        {
            if (step is "memory" or "stop" && resets++ < 2)
                machine.ResetAsync().GetAwaiter().GetResult();
        });
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        Assert.Equal(2, moved.Machine.RebootCount);
        await moved.SweepAsync(3);
    }

    [Fact]
    public async Task A_paused_machine_arrives_paused()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Interpreter));
        await moved.Machine.PauseAsync();
        Assert.Equal(MigrationPhase.Completed, (await moved.MoveAsync()).Phase);
        Assert.Equal(VmState.Paused, moved.Machine.State);
        moved.Machine.Resume();
        await moved.SweepAsync(3);
    }

    [Fact]
    public async Task Boot_files_that_the_target_lacks_come_along()
    {
        MachineSpec spec = Spec(1 << 20, EngineNames.Translator);
        await using MovedMachine moved = await StartAsync(spec);
        // Another file of that name than the one that was booted would be sent as it is; one that is gone is said.
        byte[] kernel = File.ReadAllBytes(spec.Kernel);
        MigrationProgress end = await moved.MoveAsync(sourceStep: step =>
        {
            // The target looks at its own files while it prepares.
            if (step == "offer")
                File.WriteAllBytes(spec.Kernel, [.. kernel, 0]);
        });
        Assert.Equal(MigrationPhase.Failed, end.Phase);
        Assert.Contains("was changed", end.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(Path.Combine(_folder, "at0")));
        File.Delete(spec.Kernel);
        end = await moved.MoveAsync();
        Assert.Contains(spec.Kernel, end.Message, StringComparison.Ordinal);
        await moved.SweepAsync(1);
    }

    [Fact]
    public async Task Boot_files_that_go_with_the_source_are_copied_and_booted_from_later()
    {
        MachineSpec spec = Spec(1 << 20, EngineNames.Translator);
        await using MovedMachine moved = await StartAsync(spec);
        Assert.Equal(MigrationPhase.Completed, (await moved.MoveAsync(passing: _folder)).Phase);
        string copy = Assert.Single(Directory.GetFiles(Path.Combine(_folder, "at0")));
        Assert.Equal(copy, moved.Machine.Spec.Kernel);
        Assert.Equal(File.ReadAllBytes(spec.Kernel), File.ReadAllBytes(copy));
        File.Delete(spec.Kernel);
        await moved.Machine.ResetAsync();
        Assert.Equal(1, moved.Machine.RebootCount);
        await moved.SweepAsync(2);
    }

    [Theory]
    [InlineData(DiskInterface.Ide)]
    [InlineData(DiskInterface.Ahci)]
    public async Task A_board_with_firmware_and_drives_moves(DiskInterface controller)
    {
        using GrubMedium disk = GrubMedium.SerialDisk("echo core is up");
        string diskette = Path.Combine(_folder, "diskette");
        File.WriteAllBytes(diskette, new byte[1_474_560]);
        var spec = new MachineSpec
        {
            Name = "grub",
            Kernel = "",
            Firmware = FirmwareKind.Bios,
            Display = DisplayAdapterKind.Std,
            Memory = 64 << 20,
            Engine = EngineNames.Translator,
            Networks = [new NetworkSpec { Model = NetworkModel.E1000 }],
            Disks =
            [
                new DiskSpec { Path = disk.ImagePath, Format = DiskFormat.Raw, IsEphemeral = true, Interface = controller },
                DiskSpec.ForCdrom(""),
                DiskSpec.ForFloppy(diskette),
                DiskSpec.ForFloppy(""),
            ],
            BootOrder = [BootDevice.Disk],
        };
        var moved = new MovedMachine(_folder, VirtualMachine.Create(spec));
        await using MovedMachine owned = moved;
        moved.Machine.Start();
        // In the midst of the firmware's work, and behind it: what it has in shadow RAM and in the ROM goes on there.
        MigrationProgress end = await moved.MoveAsync(new MigrationOptions { CopyDisks = true });
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        await moved.ReadUntilAsync("grub> ", TimeSpan.FromMinutes(2));
        end = await moved.MoveAsync(new MigrationOptions { CopyDisks = true });
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        // GRUB reads by the BIOS.
        moved.Machine.Console.WriteLine("cat (hd0)0+1 --hex; echo do''ne");
        await moved.ReadUntilAsync("done", TimeSpan.FromMinutes(1));
        Assert.DoesNotContain("error", moved.Machine.Console.Transcript, StringComparison.Ordinal);
        moved.Machine.Console.WriteLine("reboot");
        await moved.ReadUntilAsync("core is up", TimeSpan.FromMinutes(2));
    }

    [Fact]
    public async Task A_target_lets_in_only_whom_it_expects()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Translator));
        MigrationListener listener = MigrationListener.OnTcp(System.Net.IPAddress.Loopback, Guid.NewGuid());
        var journal = new MovedMachine.Journal();
        await using var target = new MigrationTarget(listener, new ArrivalOptions { Name = "sweep", Folder = _folder }, journal);
        Task<VirtualMachine> arriving = target.ReceiveAsync(CancellationToken.None);
        foreach (MigrationAddress wrong in new[]
        {
            listener.Address with { Ticket = new string('0', listener.Address.Ticket.Length) },
            listener.Address with { Id = Guid.NewGuid() },
            listener.Address with { Certificate = new string('0', 64) },
            listener.Address with { Certificate = null },
        })
        {
            MigrationProgress end = await new MigrationSource(moved.Machine, wrong, new MigrationOptions(), new MovedMachine.Journal()).RunAsync(CancellationToken.None);
            Assert.Equal(MigrationPhase.Failed, end.Phase);
            Assert.False(arriving.IsCompleted);
        }

        await moved.SweepAsync(1);
        Assert.Equal(MigrationPhase.Completed, (await new MigrationSource(moved.Machine, listener.Address, new MigrationOptions(), new MovedMachine.Journal()).RunAsync(CancellationToken.None)).Phase);
        await using VirtualMachine machine = await arriving;
        Assert.Equal(["accept"], journal.Entries);
        Assert.True(await listener.Address.AskAsync(CancellationToken.None));
    }

    [Fact]
    public async Task What_differs_is_named_before_memory_goes()
    {
        await using MovedMachine moved = await StartAsync(Spec(1 << 20, EngineNames.Translator) with { Balloon = true });
        MachineSpec spec = moved.Machine.PresentSpec;
        var offer = new MachineOffer
        {
            Version = MachineOffer.CurrentVersion,
            Id = Guid.NewGuid(),
            Ticket = "",
            Machine = spec,
            CpuFeatures = FeatureNames.Of(Machine.Cpu.Models.CpuModels.Find(spec.CpuModel)),
            Parts = [.. moved.Machine.MovingMachine().Sections.Select(part => new OfferedPart(part.SectionName, part.SectionVersion))],
            Disks = [],
            Files = [],
            Connections = 1,
        };
        Compatibility.Check(offer);
        Compatibility.Check(offer, moved.Machine.MovingMachine());
        (MachineOffer Offer, string Says)[] wrong =
        [
            (offer with { Version = 9 }, "version 9"),
            (offer with { CpuFeatures = [.. offer.CpuFeatures, "avx10"] }, "avx10"),
            (offer with { CpuFeatures = [.. offer.CpuFeatures.Skip(1)] }, offer.CpuFeatures[0]),
            (offer with { Machine = spec with { CpuModel = "nothing" } }, "nothing"),
            (offer with { Machine = spec with { Clock = ClockKind.Instructions } }, "instructions"),
        ];
        foreach ((MachineOffer each, string says) in wrong)
            Assert.Contains(says, Assert.Throws<MigrationException>(() => Compatibility.Check(each)).Message, StringComparison.Ordinal);
        MigrationException devices = Assert.Throws<MigrationException>(() => Compatibility.Check(
            offer with { Parts = [.. offer.Parts.Where(part => part.Name != "pit").Select(part => part.Name == "virtio-balloon0" ? part with { Version = 77 } : part), new OfferedPart("floppy", 1)] },
            moved.Machine.MovingMachine()));
        Assert.Contains("virtio-balloon0 has version 77", devices.Message, StringComparison.Ordinal);
        Assert.Contains("floppy is missing at the target", devices.Message, StringComparison.Ordinal);
        Assert.Contains("pit is missing at the source", devices.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_that_can_not_be_are_refused()
    {
        new MigrationOptions().Validate();
        foreach (MigrationOptions wrong in new MigrationOptions[] { new() { Connections = 0 }, new() { Connections = 17 }, new() { Downtime = TimeSpan.Zero }, new() { Downtime = TimeSpan.FromHours(1) }, new() { Bandwidth = 5 } })
            Assert.Throws<MigrationException>(wrong.Validate);
    }

    private MachineSpec WithDisk()
    {
        string disk = Path.Combine(_folder, "shared.qcow2");
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        return Spec(1 << 20, EngineNames.Translator) with { Disks = [new DiskSpec { Path = disk }] };
    }

    private static void Fail(string step, string at)
    {
        if (step == at)
            throw new IOException("injected");
    }
}
