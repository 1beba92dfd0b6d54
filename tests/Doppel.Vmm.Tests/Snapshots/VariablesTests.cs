using Doppel.Host.Files;
using Doppel.Machine.Memory;
using Doppel.Vmm.Firmware;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;
using Doppel.Vmm.Tests.Migration;

namespace Doppel.Vmm.Tests.Snapshots;

/// <summary>UEFI's variables belong to a machine's state: snapshots have those of their moment, and clones and machines that were moved their own file.</summary>
public sealed class VariablesTests : IDisposable
{
    // In the spare block, which firmware uses only to tidy up.
    private const int Place = 0x83_800;
    private const ulong Flash = GuestMemory.HighRamStart - FirmwareSearch.UefiLength;
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-v-").FullName;
    private readonly StateDirectory _state;

    public VariablesTests() => _state = new StateDirectory(Path.Combine(_folder, "state"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_machine_that_goes_back_has_the_variables_of_that_moment()
    {
        await using VirtualMachine machine = await StartAsync();
        Write(machine, 0x7F);
        _ = await machine.SaveAsync(_state.SnapshotsOf("uefi"), new SaveOptions { Name = "then" });
        Write(machine, 0x0F);
        Assert.Equal(0x0F, ReadFile(machine.Spec));
        using (SnapshotReader reader = SnapshotReader.Open(_state.SnapshotsOf("uefi").Find("then")))
            await machine.RevertAsync(reader);
        Assert.Equal((0x7F, 0x7F), (Read(machine), ReadFile(machine.Spec)));
        // They are kept from then on as before.
        Write(machine, 0x3F);
        Assert.Equal(0x3F, ReadFile(machine.Spec));
    }

    [Fact]
    public async Task A_machine_that_is_started_from_a_snapshot_has_them_too()
    {
        string folder;
        await using (VirtualMachine machine = await StartAsync())
        {
            Write(machine, 0x7F);
            folder = (await machine.SaveAsync(_state.SnapshotsOf("uefi"), new SaveOptions { Name = "then" })).Folder;
            Write(machine, 0x0F);
        }

        using SnapshotReader reader = SnapshotReader.Open(folder);
        await using VirtualMachine restored = VirtualMachine.Restore(reader);
        Assert.Equal((0x7F, 0x7F), (Read(restored), ReadFile(restored.Spec)));
    }

    [Fact]
    public async Task A_clone_runs_beside_its_machine_with_variables_of_its_own()
    {
        await using VirtualMachine machine = await StartAsync();
        Write(machine, 0x7F);
        SaveResult saved = await machine.SaveAsync(_state.SnapshotsOf("uefi"), new SaveOptions { Name = "then" });
        Write(machine, 0x3F);
        new SnapshotCloner(_state).Clone(saved.Folder, "other");
        using SnapshotReader reader = SnapshotReader.Open(_state.SuspendedOf("other").Find(StateDirectory.SuspendedName));
        await using VirtualMachine clone = VirtualMachine.Restore(reader);
        Assert.Equal(MachinePaths.VariablesIn(_state.FolderOf("other")), clone.Spec.FirmwareVariables);
        Assert.Equal((0x7F, 0x7F, 0x3F), (Read(clone), ReadFile(clone.Spec), ReadFile(machine.Spec)));
        Write(clone, 0x01);
        Assert.Equal((0x01, 0x3F), (ReadFile(clone.Spec), ReadFile(machine.Spec)));
    }

    [Fact]
    public async Task A_machine_takes_its_variables_along_to_another_host()
    {
        VirtualMachine machine = await StartAsync();
        await using var moved = new MovedMachine(_folder, machine);
        Write(machine, 0x7F);
        string before = machine.Spec.FirmwareVariables!;
        // One that comes to nothing leaves nothing at the target, and the source goes on with its own.
        MigrationProgress end = await moved.MoveAsync(targetStep: step =>
        {
            if (step == "ready")
                throw new IOException("injected");
        });
        Assert.Equal(MigrationPhase.Failed, end.Phase);
        string at = Path.Combine(_folder, "at0");
        Assert.False(Directory.Exists(at) && Directory.EnumerateFileSystemEntries(at).Any());
        Write(machine, 0x3F);
        Assert.Equal(0x3F, ReadFile(machine.Spec));

        end = await moved.MoveAsync();
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        Assert.StartsWith(Path.Combine(_folder, "at1") + "/", moved.Machine.Spec.FirmwareVariables, StringComparison.Ordinal);
        Assert.Equal((0x3F, 0x3F), (Read(moved.Machine), ReadFile(moved.Machine.Spec)));
        Write(moved.Machine, 0x1F);
        Assert.Equal((0x1F, 0x3F), (ReadFile(moved.Machine.Spec), ReadFile(machine.Spec with { FirmwareVariables = before })));
        // And on from there.
        end = await moved.MoveAsync();
        Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
        Assert.Equal((0x1F, 0x1F), (Read(moved.Machine), ReadFile(moved.Machine.Spec)));
    }

    [Fact]
    public void A_machines_variables_follow_the_name_of_its_folder()
    {
        var spec = new MachineSpec { FirmwareVariables = MachinePaths.VariablesIn("/m/a"), Parallel = "/elsewhere/a" };
        MachineSpec moved = spec.Moved("/m/a", "/m/b");
        Assert.Equal((MachinePaths.VariablesIn("/m/b"), "/elsewhere/a"), (moved.FirmwareVariables, moved.Parallel));
        Assert.Equal("/m/ab/variables", (spec with { FirmwareVariables = "/m/ab/variables" }).Moved("/m/a", "/m/b").FirmwareVariables);
    }

    // Firmware stands still after its first instructions.
    private async Task<VirtualMachine> StartAsync()
    {
        VirtualMachine machine = VirtualMachine.Create(new MachineSpec
        {
            Name = "uefi",
            Kernel = "",
            Firmware = FirmwareKind.Uefi,
            FirmwareVariables = MachinePaths.VariablesIn(_state.FolderOf("uefi")),
            Memory = 16 << 20,
            Engine = EngineNames.Interpreter,
        });
        machine.Start();
        await machine.PauseAsync();
        return machine;
    }

    // 28F640: program a byte, and read the array again. Bits only go from 1 to 0.
    private static void Write(VirtualMachine machine, byte value)
    {
        lock (machine.ArrivingMachine.IoLock)
        {
            foreach (byte each in (byte[])[0x40, value, 0xFF])
                machine.ArrivingMachine.Mmio.Write(Flash + Place, 1, each);
        }
    }

    private static int Read(VirtualMachine machine)
    {
        var one = new byte[1];
        Assert.True(machine.ArrivingMachine.Memory.TryRead(Flash + Place, one));
        return one[0];
    }

    private static int ReadFile(MachineSpec spec)
    {
        using var file = new HostFile(spec.FirmwareVariables!, HostFileMode.Read);
        var one = new byte[1];
        file.Read(Place, one);
        return one[0];
    }
}
