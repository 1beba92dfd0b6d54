using System.Text.Json;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Images;
using Doppel.Vmm.Machines;

namespace Doppel.Vmm.Tests.Machines;

public sealed class MachineStoreTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-machines-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_machine_keeps_its_images_files_when_the_image_is_made_anew()
    {
        ImageStore images = Images(out GuestImage image);
        var store = new MachineStore(new StateDirectory(Path.Combine(_directory, "state")));
        KeptMachine machine = store.Create("web", image);
        Assert.Equal(("web", "system"), (machine.Name, machine.Description.Image));
        Assert.Equal(machine.Description, store.Find("web")!.Description);
        _ = images.Remove("system");
        Assert.Equal("kernel", File.ReadAllText(machine.KernelPath));
        Assert.Equal(1 << 20, new FileInfo(machine.BasePath).Length);
        MachineSpec spec = MachineSpec.ForMachine(machine);
        Assert.Equal("root=here", spec.CommandLine);
        Assert.Equal((machine.BasePath, machine.OverlayPath, DiskInterface.Nvme), (spec.Disks[0].Path, spec.Disks[0].Overlay, spec.Disks[0].Interface));
    }

    [Fact]
    public void A_machine_is_listed_and_removed_unless_it_runs()
    {
        _ = Images(out GuestImage image);
        var store = new MachineStore(new StateDirectory(Path.Combine(_directory, "state")));
        KeptMachine machine = store.Create("web", image);
        Assert.Equal(["web"], store.List().Select(m => m.Name));
        IReadOnlyList<MachineDisk> disks = MachineDisk.OpenAll(MachineSpec.ForMachine(machine));
        Assert.Contains("is running", Assert.Throws<IOException>(() => store.Remove("web")).Message, StringComparison.Ordinal);
        MachineDisk.CloseAll(disks);
        Assert.True(store.Remove("web"));
        Assert.False(store.Remove("web"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(_directory, "state", "machines")));
    }

    [Fact]
    public void A_machines_snapshots_are_no_hindrance_and_stay()
    {
        _ = Images(out GuestImage image);
        var store = new MachineStore(new StateDirectory(Path.Combine(_directory, "state")));
        string snapshots = Path.Combine(store.State.FolderOf("web"), "snapshots");
        _ = Directory.CreateDirectory(snapshots);
        Assert.Empty(store.List());
        _ = store.Create("web", image);
        Assert.True(store.Remove("web"));
        Assert.True(Directory.Exists(snapshots));
    }

    [Fact]
    public void A_machine_that_is_there_is_not_made_again()
    {
        _ = Images(out GuestImage image);
        var store = new MachineStore(new StateDirectory(Path.Combine(_directory, "state")));
        _ = store.Create("web", image);
        Assert.Throws<IOException>(() => store.Create("web", image));
        Assert.Equal(["system"], Directory.EnumerateFileSystemEntries(Path.GetDirectoryName(store.Find("web")!.Directory)!).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("../web")]
    [InlineData("..")]
    [InlineData("12")]
    public void A_name_that_cannot_be_is_refused(string name) => Assert.Throws<SpecException>(() => new MachineStore(new StateDirectory(_directory)).Find(name));

    private ImageStore Images(out GuestImage image)
    {
        var store = new ImageStore(Path.Combine(_directory, "images"));
        string work = store.CreateWorkDirectory("system");
        File.WriteAllText(Path.Combine(work, GuestImage.KernelFile), "kernel");
        File.WriteAllBytes(Path.Combine(work, "root.img"), new byte[1 << 20]);
        var manifest = new ImageManifest
        {
            Name = "system",
            Created = DateTimeOffset.UtcNow,
            KernelVersion = "1",
            CommandLine = "root=here",
            Disk = "root.img",
            Packages = [],
            Files = [new(GuestImage.KernelFile, 6, null), new("root.img", 1 << 20, null)],
        };
        File.WriteAllText(Path.Combine(work, ImageManifest.FileName), JsonSerializer.Serialize(manifest, ImageJson.Default.ImageManifest));
        image = store.Publish("system", work);
        return store;
    }
}
