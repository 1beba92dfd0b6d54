using Doppel.Devices.Storage.Images;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Debugging;

namespace Doppel.Vmm.Tests.Snapshots;

public sealed class CloneTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-c-").FullName;
    private readonly StateDirectory _state;

    public CloneTests() => _state = new StateDirectory(Path.Combine(_folder, "state"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Clones_run_side_by_side_each_with_memory_and_disk_of_its_own()
    {
        string kernel = Path.Combine(_folder, "loop"), disk = Path.Combine(_folder, "d.qcow2");
        File.WriteAllBytes(kernel, LoopGuest.Create().Image);
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        MarkedDisk.Write(disk, 1);
        var spec = new MachineSpec { Name = "one", Kernel = kernel, Memory = 16 << 20, Engine = EngineNames.Translator, Disks = [new DiskSpec { Path = disk }] };
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        machine.Start();
        await RunOnAsync(machine);
        SnapshotStore store = _state.SnapshotsOf("one");
        _ = await machine.SaveAsync(store, new SaveOptions());
        await RunOnAsync(machine);
        SaveResult second = await machine.SaveAsync(store, new SaveOptions());
        Assert.Equal("s1", second.Manifest.Parent);
        var cloner = new SnapshotCloner(_state);
        cloner.Clone(second.Folder, "two");
        cloner.Clone(second.Folder, "three");
        Assert.Contains("two", Assert.Throws<SnapshotException>(() => cloner.Clone(second.Folder, "two")).Message, StringComparison.Ordinal);
        Assert.Throws<SpecException>(() => cloner.Clone(second.Folder, "../four"));

        // The clones need nothing of the snapshots they come from.
        _ = await machine.RemoveSnapshotAsync(store, "s1", withChildren: true);
        var clones = new List<VirtualMachine>();
        foreach (string name in new[] { "two", "three" })
        {
            Assert.True(_state.IsSuspended(name));
            using SnapshotReader reader = SnapshotReader.Open(_state.SuspendedOf(name).Find(StateDirectory.SuspendedName));
            reader.VerifyMemory();
            Assert.Equal(name, reader.Manifest.Machine.Name);
            clones.Add(VirtualMachine.Restore(reader));
            clones[^1].Start();
            _state.RemoveSuspended(name);
        }

        foreach (VirtualMachine clone in clones)
            await RunOnAsync(clone);
        await RunOnAsync(machine);
        string[] disks = [.. clones.Select(clone => clone.Spec.Disks[0].Path)];
        foreach (VirtualMachine clone in clones)
            await clone.DisposeAsync();
        MarkedDisk.Write(disks[0], 2);
        Assert.Equal((2, 1), (MarkedDisk.Read(disks[0]), MarkedDisk.Read(disks[1])));
        await machine.DisposeAsync();
        Assert.Equal(1, MarkedDisk.Read(disk));
    }

    private static async Task RunOnAsync(VirtualMachine machine)
    {
        ulong now = machine.GetStatistics().Total.Instructions;
        while (machine.GetStatistics().Total.Instructions < now + 20_000)
            await Task.Yield();
    }
}
