using System.Diagnostics;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Snapshots;

namespace Doppel.Daemon.Tests;

/// <summary>kill -9 of the daemon and of workers in the middle of what they do: what was promised holds all the same.</summary>
public sealed class KillTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Theory]
    [InlineData("start")]
    [InlineData("suspend")]
    [InlineData("snapshots/s/restore")]
    [InlineData("stop?timeout=0")]
    public async Task A_daemon_that_is_killed_in_an_operation_leaves_a_machine_that_the_next_one_can_use(string action)
    {
        int seed = Environment.TickCount;
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        if (action != "start")
        {
            _ = await daemon.Client.DoAsync("one", "start", default);
            _ = await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Name = "s" }, default);
        }

        _ = await daemon.Client.BeginAsync($"machines/one/{action}", default);
        // Whichever moment of the operation that is.
        await Task.Delay(new Random(seed).Next(150));
        daemon.Daemon.Kill();
        await daemon.Daemon.WaitForExitAsync();
        daemon.Restart();
        await RunsAsync(daemon, seed);
    }

    [Fact]
    public async Task A_worker_that_is_killed_while_it_is_saved_leaves_whole_snapshots_only()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        for (int turn = 0; turn < 5; turn++)
        {
            MachineView view = await daemon.Client.DoAsync("one", "start", default);
            Operation saving = await daemon.Client.BeginAsync("machines/one/suspend", default);
            await Task.Delay(random.Next(60));
            try
            {
                using var worker = Process.GetProcessById(view.ProcessId!.Value);
                worker.Kill();
            }
            catch (ArgumentException)
            {
                // It was faster.
            }

            Operation ended = await daemon.Client.FollowAsync(saving.Id, null, default).WaitAsync(Patience);
            Assert.True(ended.Status is null or 409, $"seed {seed}, turn {turn}: {ended.Error}");
            // The worker's end is told before anything else of it.
            FileLock.Take(daemon.Folder("one").WorkerLockPath).Dispose();
            if (daemon.Folder("one").IsSuspended)
            {
                using var whole = SnapshotReader.Open(StateDirectory.SuspendedIn(daemon.Folder("one").Path).Find(StateDirectory.SuspendedName));
                whole.VerifyMemory();
            }

            await RunsAsync(daemon, seed);
            _ = await daemon.Client.DoAsync("one", "kill", default);
        }
    }

    [Fact]
    public async Task A_machine_that_ended_while_no_daemon_was_there_starts_by_its_policy_with_the_next()
    {
        await using var daemon = new DaemonFixture();
        foreach ((string name, RestartPolicy policy) in new[] { ("always", RestartPolicy.Always), ("failure", RestartPolicy.OnFailure), ("stopped", RestartPolicy.Always), ("no", RestartPolicy.No) })
        {
            _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec(name), Restart = policy }, default);
            _ = await daemon.Client.DoAsync(name, "start", default);
        }

        _ = await daemon.Client.DoAsync("stopped", "kill", default);
        daemon.Daemon.Kill();
        await daemon.Daemon.WaitForExitAsync();
        // As the host's restart does.
        foreach (string name in (string[])["always", "failure", "no"])
        {
            using var worker = Process.GetProcessById(daemon.Folder(name).Worker!.ProcessId);
            worker.Kill();
            FileLock.Take(daemon.Folder(name).WorkerLockPath).Dispose();
        }

        daemon.Restart();
        using var enough = new CancellationTokenSource(Patience);
        // They may be there before anybody could listen for the event.
        while (daemon.Folder("always").LiveWorker is null || daemon.Folder("failure").LiveWorker is null)
            await Task.Delay(100, enough.Token);

        Assert.Equal('b', await daemon.EchoAsync("always", 'a'));
        Assert.Equal('b', await daemon.EchoAsync("failure", 'a'));
        Assert.Equal((MachineState.Exited, MachineState.Exited), ((await daemon.Client.GetAsync("stopped", default)).State, (await daemon.Client.GetAsync("no", default)).State));
    }

    [Fact]
    public async Task A_disk_that_was_changed_while_its_machine_was_suspended_is_noticed_and_one_disk_has_one_machine()
    {
        await using var daemon = new DaemonFixture();
        string disk = Path.Combine(Path.GetDirectoryName(daemon.Kernel)!, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        MachineSpec spec = daemon.Spec("one") with { Disks = [new DiskSpec { Path = disk, Format = Devices.Storage.Images.DiskFormat.Raw }] };
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = spec }, default);
        _ = await daemon.Client.DoAsync("one", "start", default);
        // The same backup restored twice: two machines that have the same disk.
        await using (var other = new DaemonFixture())
        {
            _ = await other.Client.CreateAsync(new CreateRequest { Spec = spec }, default);
            ApiException error = await Assert.ThrowsAsync<ApiException>(() => other.Client.DoAsync("one", "start", default));
            Assert.Contains(disk, error.Message, StringComparison.Ordinal);
        }

        _ = await daemon.Client.DoAsync("one", "suspend", default);
        _ = await daemon.Client.DoAsync("one", "resume", default);
        _ = await daemon.Client.DoAsync("one", "suspend", default);
        File.SetLastWriteTimeUtc(disk, File.GetLastWriteTimeUtc(disk).AddMinutes(1));
        ApiException changed = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("one", "resume", default));
        Assert.Contains(disk, changed.Message, StringComparison.Ordinal);
        Assert.Contains("has been changed since", changed.Message, StringComparison.Ordinal);
        Assert.Equal(MachineState.Suspended, (await daemon.Client.GetAsync("one", default)).State);
    }

    private static async Task RunsAsync(DaemonFixture daemon, int seed)
    {
        // A process that has just been killed may be listed still, and what a dead daemon has begun goes on: a worker may just be coming up.
        string? refused = null;
        long begin = Stopwatch.GetTimestamp();
        while ((await daemon.Client.GetAsync("one", default)).State is not MachineState.Running)
        {
            Assert.True(Stopwatch.GetElapsedTime(begin) < Patience, $"seed {seed}: the machine did not come to run: {refused}");
            try
            {
                _ = await daemon.Client.DoAsync("one", "start", default);
            }
            catch (ApiException e) when (e.Status == 409)
            {
                refused = e.Message;
                await Task.Delay(50);
            }
        }

        Assert.True(await daemon.EchoAsync("one", 'a') == 'b', $"seed {seed}");
    }
}
