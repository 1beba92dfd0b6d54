using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Machines;

namespace Doppel.Daemon.Tests;

/// <summary>Machines that get other names, with disks and snapshots in their folders.</summary>
public sealed class RenameTests
{
    [Fact]
    public async Task What_a_machine_has_in_its_folder_goes_along_and_nobody_loses_what_is_behind_its_disk()
    {
        await using var daemon = new DaemonFixture();
        await CreateAsync(daemon, "one");
        _ = await daemon.Client.DoAsync("one", "start", default);
        _ = await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Name = "s" }, default);
        _ = await daemon.Client.CloneAsync("one", new CloneRequest("two") { Snapshot = "s" }, null, default);
        _ = await daemon.Client.DoAsync("one", "kill", default);

        // The clone reads the image that the original only reads.
        ApiException refused = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.RenameAsync("one", "eins", default));
        Assert.Contains("two has images of it behind its disk", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.RemoveAsync("one", force: true, default));
        Assert.Equal(409, refused.Status);

        _ = await daemon.Client.RenameAsync("two", "deux", default);
        Assert.Equal(MachineState.Suspended, (await daemon.Client.GetAsync("deux", default)).State);
        _ = await daemon.Client.DoAsync("deux", "start", default);
        Assert.Equal('b', await daemon.EchoAsync("deux", 'a'));
        _ = await daemon.Client.SnapshotAsync("deux", new SnapshotRequest { Name = "t" }, default);
        _ = await daemon.Client.DoAsync("deux", "kill", default);
        _ = await daemon.Client.RenameAsync("deux", "zwei", default);
        _ = await daemon.Client.DoAsync("zwei", "snapshots/t/restore", default);
        Assert.Equal('d', await daemon.EchoAsync("zwei", 'c'));

        // Saved with its disk, of which is known when it was last written to.
        _ = await daemon.Client.DoAsync("zwei", "suspend", default);
        _ = await daemon.Client.RenameAsync("zwei", "two", default);
        _ = await daemon.Client.DoAsync("two", "resume", default);
        Assert.Equal('f', await daemon.EchoAsync("two", 'e'));
        await daemon.Client.RemoveAsync("two", force: true, default);

        _ = await daemon.Client.RenameAsync("one", "eins", default);
        _ = await daemon.Client.DoAsync("eins", "start", default);
        Assert.Equal('b', await daemon.EchoAsync("eins", 'a'));
        _ = await daemon.Client.DoAsync("eins", "kill", default);
        _ = await daemon.Client.DoAsync("eins", "snapshots/s/restore", default);
        Assert.Equal('d', await daemon.EchoAsync("eins", 'c'));
    }

    [Fact]
    public async Task A_daemon_finishes_what_a_dead_one_has_begun_to_rename()
    {
        await using var daemon = new DaemonFixture();
        await CreateAsync(daemon, "one");
        _ = await daemon.Client.DoAsync("one", "start", default);
        _ = await daemon.Client.DoAsync("one", "suspend", default);
        daemon.Daemon.Kill();
        await daemon.Daemon.WaitForExitAsync();
        MachineRename.Begin(daemon.Folder("one").Path, daemon.Folder("other").Path);
        daemon.Restart();
        Assert.Equal("other", Assert.Single(await daemon.Client.ListAsync(default)).Spec.Name);
        _ = await daemon.Client.DoAsync("other", "resume", default);
        Assert.Equal('b', await daemon.EchoAsync("other", 'a'));
        Assert.Null(MachineRename.Unfinished(daemon.Folder("other").Path));
    }

    // As a machine that was made of an image: the disk that it reads and what it has written, in its folder.
    private static async Task CreateAsync(DaemonFixture daemon, string name)
    {
        string system = Path.Combine(daemon.Folder(name).Path, "system"), disk = Path.Combine(system, "base.img");
        _ = Directory.CreateDirectory(system);
        File.WriteAllBytes(disk, new byte[1 << 20]);
        MachineSpec spec = daemon.Spec(name) with { Disks = [new DiskSpec { Path = disk, Format = DiskFormat.Raw, Overlay = Path.Combine(system, "disk.qcow2") }] };
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = spec }, default);
    }
}
