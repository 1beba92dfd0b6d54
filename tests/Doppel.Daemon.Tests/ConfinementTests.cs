using Doppel.Api;
using Doppel.Host.Confinement;
using Doppel.Host.Kvm;
using Doppel.Vmm;

namespace Doppel.Daemon.Tests;

/// <summary>What a worker can't do whose code is somebody else's.</summary>
public sealed class ConfinementTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_worker_that_is_taken_over_reaches_nothing_but_its_own_machine(bool isStartedAhead)
    {
        string folder = Directory.CreateTempSubdirectory("doppel-user-").FullName, secret = Path.Combine(folder, "secret"), disk = Path.Combine(folder, "disk.img");
        File.WriteAllText(secret, "the user's");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        await using var daemon = new DaemonFixture("--spares", isStartedAhead ? "1" : "0");
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("other") }, default);
        MachineView other = await daemon.Client.DoAsync("other", "start", default);
        await daemon.Client.StopDaemonAsync(default);
        await daemon.Daemon.WaitForExitAsync();
        MachineFolder own = daemon.Folder("taken");
        string definition = Path.Combine(own.Path, "definition.json"), state = Path.Combine(own.RunPath, "state");
        string[] refused = ["start:/bin/true", $"connect:{other.Socket}", $"connect:{daemon.Location.Socket}", $"signal:{other.ProcessId}"];
        string[] refusedByLandlock = [$"read:{secret}", $"write:{secret}", $"list:{folder}", $"write:{definition}", $"read:{other.Folder}/definition.json", $"write:{daemon.Location.Runtime.Path}/doppeld2", "list:/root", "write:/tmp/doppel-probe"];
        string[] allowed = [$"read:{disk}", $"write:{disk}", $"write:{state}", $"read:{definition}", $"read:{daemon.Kernel}"];
        if (HasKvm)
            allowed = [.. allowed, $"kvm:{KvmDevice.DefaultPath}"];
        string[] tries = [.. refused, .. refusedByLandlock, .. allowed];
        daemon.RestartWith("DOPPEL_PROBE_CONFINEMENT", string.Join(';', tries));
        if (isStartedAhead && Landlock.CanConfineProcess)
            await daemon.WaitForSparesAsync(1);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("taken") with { Disks = [new DiskSpec { Path = disk, Format = Devices.Storage.Images.DiskFormat.Raw }] } }, default);
        // What the worker says instead of that it is ready is not what the daemon waits for.
        ApiException error = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("taken", "start", default));
        Assert.Equal(409, error.Status);
        string[] results = File.ReadAllLines(Path.Combine(own.RunPath, "confinement"));
        Assert.Equal(tries, results.Select(line => line.Split(' ')[0]));
        foreach (string line in results)
        {
            bool isAllowed = allowed.Contains(line.Split(' ')[0]) || (Landlock.Version == 0 && refusedByLandlock.Contains(line.Split(' ')[0]));
            Assert.True(line.Contains(isAllowed ? " allowed" : " refused", StringComparison.Ordinal), line);
        }

        Assert.Equal("the user's", File.ReadAllText(secret));
        Assert.False(File.Exists("/tmp/doppel-probe"));
        Assert.Equal(MachineState.Running, (await daemon.Client.GetAsync("other", default)).State);
        Directory.Delete(folder, recursive: true);
    }

    // What a worker may do that its user may do.
    private static bool HasKvm
    {
        get
        {
            try
            {
                using var device = new KvmDevice();
                using KvmVm vm = device.CreateVm();
                return true;
            }
            catch (IOException)
            {
                return false;
            }
        }
    }
}
