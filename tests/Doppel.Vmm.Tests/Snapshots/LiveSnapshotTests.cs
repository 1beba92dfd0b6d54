using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Debugging;
using Doppel.Vmm.Tests.Lockstep;
using Xunit.Abstractions;

namespace Doppel.Vmm.Tests.Snapshots;

/// <summary>Snapshots of running machines through <see cref="VirtualMachine"/>.</summary>
public sealed class LiveSnapshotTests(ITestOutputHelper output) : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-l-").FullName;

    private SnapshotStore Store => new(Path.Combine(_folder, "snapshots"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Kernel()
    {
        string path = Path.Combine(_folder, "loop");
        File.WriteAllBytes(path, LoopGuest.Create().Image);
        return path;
    }

    private MachineSpec Loop(string engine) => new() { Name = "loop", Kernel = Kernel(), Memory = 16 << 20, Engine = engine };

    [Theory]
    [InlineData(EngineNames.Interpreter, EngineNames.Translator)]
    [InlineData(EngineNames.Translator, EngineNames.Interpreter)]
    public async Task A_running_machine_is_saved_and_goes_on_from_there_under_another_engine(string from, string to)
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(from));
        await Assert.ThrowsAsync<SnapshotException>(() => machine.SaveAsync(Store, new SaveOptions()));
        machine.Start();
        await RunOnAsync(machine);
        SaveResult first = await machine.SaveAsync(Store, new SaveOptions { Description = "one" });
        await RunOnAsync(machine);
        SaveResult second = await machine.SaveAsync(Store, new SaveOptions { Name = "two" });
        output.WriteLine($"{first.Stopped.TotalMilliseconds} ms, {second.Stopped.TotalMilliseconds} ms; {first.Manifest.Pages} pages, then {second.Manifest.Pages}");
        Assert.Equal(("s1", "one", null), (first.Manifest.Name, first.Manifest.Description, first.Manifest.Parent));
        Assert.Equal(("s1", first.Manifest.Id), (second.Manifest.Parent, second.Manifest.ParentId));
        Assert.True(second.Manifest.Pages < first.Manifest.Pages);
        Assert.Equal(VmState.Running, machine.State);
        await RunOnAsync(machine);
        foreach (SaveResult result in new[] { first, second })
        {
            using SnapshotReader reader = SnapshotReader.Open(result.Folder);
            await using VirtualMachine other = VirtualMachine.Restore(reader, spec => spec with { Engine = to });
            Assert.Equal(VmState.Created, other.State);
            other.Start();
            await RunOnAsync(other);
            Assert.Equal(to, other.GetStatistics().Engine);
        }

        await Assert.ThrowsAsync<SnapshotException>(() => machine.SaveAsync(Store, new SaveOptions { Name = "two" }));
        await Assert.ThrowsAsync<SnapshotException>(() => machine.SaveAsync(Store, new SaveOptions { Name = "../x" }));
    }

    [Fact]
    public async Task What_a_restored_machine_touches_first_is_read_ahead_the_next_time()
    {
        SaveResult saved;
        await using (VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator)))
        {
            machine.Start();
            await RunOnAsync(machine);
            saved = await machine.SaveAsync(Store, new SaveOptions());
        }

        string recorded = Path.Combine(saved.Folder, SnapshotFolder.WorkingSetFile);
        for (int i = 0; i < 3; i++)
        {
            using SnapshotReader reader = SnapshotReader.Open(saved.Folder);
            await using VirtualMachine again = VirtualMachine.Restore(reader);
            again.Start();
            await RunOnAsync(again);
            while (!File.Exists(recorded))
                await Task.Delay(50);
            using var memory = new Doppel.Machine.Memory.GuestMemory(again.Spec.Memory);
            if (i < 2)
                Assert.InRange(WorkingSet.Read(saved.Folder, memory)!.Count, 1UL, again.Spec.Memory / 4096);
            else
                Assert.Null(WorkingSet.Read(saved.Folder, memory));
            // The last finds one that makes no sense, which harms nobody.
            if (i == 1)
                File.WriteAllBytes(recorded, [.. File.ReadAllBytes(recorded)[..8], .. Enumerable.Repeat((byte)0xFF, 8)]);
        }
    }

    [Fact]
    public async Task A_restored_machine_has_another_generation_identifier_and_a_reset_one_the_same()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Interpreter));
        machine.Start();
        Guid before = machine.GenerationId;
        Assert.NotEqual(Guid.Empty, before);
        await machine.ResetAsync();
        Assert.Equal(before, machine.GenerationId);
        machine.ChangeGeneration(new Guid("00112233-4455-6677-8899-aabbccddeeff"));
        Assert.Equal(new Guid("00112233-4455-6677-8899-aabbccddeeff"), machine.GenerationId);
        await RunOnAsync(machine);
        SaveResult saved = await machine.SaveAsync(Store, new SaveOptions());
        using SnapshotReader reader = SnapshotReader.Open(saved.Folder);
        await using VirtualMachine other = VirtualMachine.Restore(reader);
        Assert.NotEqual(machine.GenerationId, other.GenerationId);
        Assert.NotEqual(Guid.Empty, other.GenerationId);
        await using VirtualMachine repeated = VirtualMachine.Create(Loop(EngineNames.Interpreter) with { RandomSeed = 7 }), again = VirtualMachine.Create(Loop(EngineNames.Interpreter) with { RandomSeed = 7 });
        Assert.Equal(repeated.GenerationId, again.GenerationId);
    }

    [Fact]
    public async Task A_machine_changes_its_engine_while_it_runs_and_while_it_is_paused()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Interpreter));
        machine.Start();
        for (int i = 0; i < 10; i++)
        {
            string engine = EngineNames.All[i % 2];
            await machine.ChangeEngineAsync(engine);
            Assert.Equal(engine, machine.GetStatistics().Engine);
            Assert.NotNull(machine.GetStatistics().SwitchSeconds);
            await RunOnAsync(machine);
        }

        await machine.PauseAsync();
        ulong stopped = machine.GetStatistics().Total.Instructions;
        await machine.ChangeEngineAsync(EngineNames.Interpreter);
        Assert.Equal((VmState.Paused, stopped), (machine.State, machine.GetStatistics().Total.Instructions));
        machine.Resume();
        await RunOnAsync(machine);
        await Assert.ThrowsAsync<SpecException>(() => machine.ChangeEngineAsync("steam"));
    }

    [Fact]
    public async Task A_paused_machine_stays_paused_when_it_is_saved()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator));
        machine.Start();
        await RunOnAsync(machine);
        await machine.PauseAsync();
        _ = await machine.SaveAsync(Store, new SaveOptions());
        Assert.Equal(VmState.Paused, machine.State);
        machine.Resume();
        await RunOnAsync(machine);
    }

    [Fact]
    public async Task A_suspended_machine_ends_and_goes_on_later()
    {
        SaveResult result;
        await using (VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator)))
        {
            machine.Start();
            await RunOnAsync(machine);
            result = await machine.SaveAsync(Store, new SaveOptions { Name = "state", Ends = true });
            Assert.Equal(VmExitKind.Suspended, (await machine.WaitAsync()).Kind);
        }

        using SnapshotReader reader = SnapshotReader.Open(result.Folder);
        await using VirtualMachine later = VirtualMachine.Restore(reader);
        later.Start();
        await RunOnAsync(later);
    }

    [Fact]
    public async Task A_machine_goes_back_to_its_snapshot()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator));
        machine.Start();
        await RunOnAsync(machine);
        SaveResult result = await machine.SaveAsync(Store, new SaveOptions());
        using SnapshotReader reader = SnapshotReader.Open(result.Folder);
        for (int i = 0; i < 3; i++)
        {
            await RunOnAsync(machine);
            await machine.RevertAsync(reader);
            Assert.Equal(VmState.Running, machine.State);
        }

        SaveResult next = await machine.SaveAsync(Store, new SaveOptions());
        Assert.Equal("s1", next.Manifest.Parent);
        Assert.True(next.Manifest.Pages < result.Manifest.Pages);
        using SnapshotReader other = SnapshotReader.Open(next.Folder);
        await using VirtualMachine small = VirtualMachine.Create(Loop(EngineNames.Translator) with { Memory = 32 << 20 });
        small.Start();
        await Assert.ThrowsAsync<SnapshotException>(() => small.RevertAsync(other));
    }

    [Fact]
    public async Task A_kill_at_any_step_of_saving_leaves_the_last_snapshot_and_no_half_one()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator));
        machine.Start();
        await RunOnAsync(machine);
        _ = await machine.SaveAsync(Store, new SaveOptions { Name = "good" });
        var steps = new List<string>();
        _ = await machine.SaveAsync(Store, new SaveOptions { Name = "steps", Step = steps.Add });
        Assert.Contains("rename", steps);
        for (int kill = 0; kill < steps.Count; kill++)
        {
            int left = kill;
            string name = $"k{kill}";
            var options = new SaveOptions { Name = name, Step = _ => ThrowAtZero(ref left) };
            await Assert.ThrowsAsync<SimulatedCrashException>(() => machine.SaveAsync(Store, options));
            (IReadOnlyList<SnapshotManifest> whole, IReadOnlyList<SnapshotException> damaged) = Store.List();
            Assert.Empty(damaged);
            Assert.Contains("good", whole.Select(m => m.Name));
            foreach (SnapshotManifest manifest in whole)
            {
                using SnapshotReader reader = SnapshotReader.Open(Path.Combine(Store.Path, manifest.Name));
                reader.VerifyMemory();
            }

            Assert.Equal(VmState.Running, machine.State);
            await RunOnAsync(machine);
        }

        // Folders of this process are not taken for leftovers; those of one that is gone are.
        string leftover = Path.Combine(Store.Path, ".new-4194304999-x");
        _ = Directory.CreateDirectory(leftover);
        _ = await machine.SaveAsync(Store, new SaveOptions { Name = "last" });
        Assert.False(Directory.Exists(leftover));
        using SnapshotReader last = SnapshotReader.Open(Path.Combine(Store.Path, "last"));
        last.VerifyMemory();
        await using VirtualMachine other = VirtualMachine.Restore(last);
        other.Start();
        await RunOnAsync(other);

        static void ThrowAtZero(ref int left)
        {
            if (left-- == 0)
                throw new SimulatedCrashException();
        }
    }

    [Fact]
    public async Task Saving_that_is_cancelled_or_fails_leaves_nothing()
    {
        await using VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator));
        machine.Start();
        await RunOnAsync(machine);
        using var cancel = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => machine.SaveAsync(Store, new SaveOptions { Step = _ => cancel.Cancel() }, cancel.Token));
        await Assert.ThrowsAsync<IOException>(() => machine.SaveAsync(Store, new SaveOptions { Step = s => Fail(s, "sync of the folder") }));
        await Assert.ThrowsAsync<IOException>(() => machine.SaveAsync(Store, new SaveOptions { Step = s => Fail(s, "sync of the parent") }));
        Assert.Empty(Directory.GetFileSystemEntries(Store.Path));
        SaveResult result = await machine.SaveAsync(Store, new SaveOptions());
        Assert.Null(result.Manifest.Parent);

        static void Fail(string step, string at)
        {
            if (step == at)
                throw new IOException("no room");
        }
    }

    [Fact]
    public async Task Disks_go_back_with_memory_and_a_raw_image_is_refused()
    {
        string disk = Path.Combine(_folder, "d.qcow2"), raw = Path.Combine(_folder, "d.raw");
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        DiskImages.Create(raw, new DiskCreateOptions { Format = DiskFormat.Raw, Length = 1 << 20 });
        MachineSpec spec = Loop(EngineNames.Translator);
        await using (VirtualMachine refused = VirtualMachine.Create(spec with { Disks = [new DiskSpec { Path = raw }] }))
        {
            refused.Start();
            SnapshotException error = await Assert.ThrowsAsync<SnapshotException>(() => refused.SaveAsync(Store, new SaveOptions()));
            Assert.Contains("qcow2", error.Message, StringComparison.Ordinal);
        }

        MarkedDisk.Write(disk, 1);
        SaveResult result;
        await using (VirtualMachine machine = VirtualMachine.Create(spec with { Disks = [new DiskSpec { Path = disk }, new DiskSpec { Path = raw, IsEphemeral = true }, new DiskSpec { Path = raw, IsReadOnly = true }] }))
        {
            machine.Start();
            result = await machine.SaveAsync(Store, new SaveOptions());
            Assert.Equal([DiskState.Internal, DiskState.Copied, DiskState.ReadOnly], result.Manifest.Disks.Select(d => d.State));
        }

        MarkedDisk.Write(disk, 2);
        using (SnapshotReader reader = SnapshotReader.Open(result.Folder))
        {
            await using VirtualMachine restored = VirtualMachine.Restore(reader);
            restored.Start();
            await RunOnAsync(restored);
        }

        Assert.Equal(1, MarkedDisk.Read(disk));
        _ = Store.Remove("s1", withChildren: false);
        using var image = (Devices.Storage.Qcow2.Qcow2Image)DiskImages.Open(disk, new DiskOpenOptions { IsReadOnly = true });
        Assert.Empty(image.Snapshots);
    }

    [Fact]
    public async Task A_snapshot_has_a_disk_whose_file_is_gone()
    {
        string seed = Path.Combine(_folder, "seed.img");
        byte[] content = new byte[1 << 16];
        Random.Shared.NextBytes(content.AsSpan(4096));
        File.WriteAllBytes(seed, content);
        SaveResult first, second;
        await using (VirtualMachine machine = VirtualMachine.Create(Loop(EngineNames.Translator) with { Disks = [new DiskSpec { Path = seed, Format = DiskFormat.Raw, IsReadOnly = true, IsTemporary = true }] }))
        {
            File.Delete(seed);
            machine.Start();
            first = await machine.SaveAsync(Store, new SaveOptions());
            using SnapshotReader back = SnapshotReader.Open(first.Folder);
            await machine.RevertAsync(back);
            await RunOnAsync(machine);
        }

        Assert.Equal(DiskState.Contained, Assert.Single(first.Manifest.Disks).State);
        Assert.Equal(content, File.ReadAllBytes(Path.Combine(first.Folder, "disk0.img")));
        using (SnapshotReader reader = SnapshotReader.Open(first.Folder))
        {
            // What goes on is saved again, and has the disk from where it went on.
            await using VirtualMachine restored = VirtualMachine.Restore(reader);
            restored.Start();
            await RunOnAsync(restored);
            second = await restored.SaveAsync(new SnapshotStore(Path.Combine(_folder, "other")), new SaveOptions());
        }

        Assert.Equal(content, File.ReadAllBytes(Path.Combine(second.Folder, "disk0.img")));
    }

    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public async Task Several_vcpus_on_deterministic_time_are_saved_between_their_turns(string engine)
    {
        var spec = new MachineSpec { Name = "pair", Kernel = PairKernel.Write(_folder, 2, 400_000), Memory = 32 << 20, Engine = engine, Clock = ClockKind.Instructions, Cpus = 3 };
        ulong whole = await RunToEndAsync(VirtualMachine.Create(spec));
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Start();
        var saved = new List<(SaveResult Result, ulong Before)>();
        Task<VmExit> end = machine.WaitAsync();
        while (!end.IsCompleted && saved.Count < 6)
        {
            try
            {
                await machine.PauseAsync();
                SaveResult result = await machine.SaveAsync(Store, new SaveOptions());
                saved.Add((result, machine.GetStatistics().Total.Instructions));
                machine.Resume();
            }
            catch (SnapshotException)
            {
                // It has ended meanwhile.
            }
        }

        _ = await end;
        Assert.Equal(whole, machine.InstructionsRetired);
        Assert.NotEmpty(saved);
        output.WriteLine($"of {whole} instructions: {string.Join(", ", saved.Select(s => s.Before))}");
        foreach ((SaveResult result, ulong before) in saved)
        {
            using SnapshotReader reader = SnapshotReader.Open(result.Folder);
            Assert.Equal(whole - before, await RunToEndAsync(VirtualMachine.Restore(reader, s => s with { Engine = EngineNames.All.First(e => e != engine) })));
        }
    }

    private static async Task<ulong> RunToEndAsync(VirtualMachine machine)
    {
        await using VirtualMachine ends = machine;
        machine.Start();
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync()).Kind);
        return machine.InstructionsRetired;
    }

    private static async Task RunOnAsync(VirtualMachine machine)
    {
        ulong now = machine.GetStatistics().Total.Instructions;
        while (machine.GetStatistics().Total.Instructions < now + 20_000)
        {
            Assert.NotEqual(VmState.Ended, machine.State);
            await Task.Yield();
        }
    }
}
