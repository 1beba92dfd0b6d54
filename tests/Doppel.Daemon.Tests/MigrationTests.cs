using System.Text.Json;
using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Migration;

namespace Doppel.Daemon.Tests;

/// <summary>Machines that move between two daemons, their processes killed at every step on the way.</summary>
public sealed class MigrationTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task A_machine_moves_there_and_back_and_runs_on_one_side_only()
    {
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture();
        string disk = Path.Combine(Path.GetDirectoryName(here.Kernel)!, "disk.qcow2");
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("web") with { Disks = [new DiskSpec { Path = disk }] }, Restart = RestartPolicy.Always }, default);
        _ = await here.Client.DoAsync("web", "start", default);
        Assert.Equal('b', await here.EchoAsync("web", 'a'));
        (DaemonFixture From, DaemonFixture To)[] ways = [(here, there), (there, here), (here, there)];
        foreach ((DaemonFixture from, DaemonFixture to) in ways)
        {
            MigrationProgress end = await MoveAsync(from, to, "web");
            Assert.Equal((MigrationPhase.Completed, null), (end.Phase, end.Message));
            MachineView left = await from.Client.GetAsync("web", default), arrived = await to.Client.GetAsync("web", default);
            Assert.Equal((MachineState.Migrated, VmExitKind.Migrated), (left.State, left.Exit?.Kind));
            Assert.Equal((MachineState.Running, RestartPolicy.Always), (arrived.State, arrived.Restart));
            Assert.Equal('d', await to.EchoAsync("web", 'c'));
            ApiException refused = await Assert.ThrowsAsync<ApiException>(() => from.Client.DoAsync("web", "start", default));
            Assert.Equal(409, refused.Status);
            Assert.Contains(to.Location.Socket, refused.Message, StringComparison.Ordinal);
        }

        // A paused machine stays so.
        _ = await there.Client.DoAsync("web", "pause", default);
        Assert.Equal(MigrationPhase.Completed, (await MoveAsync(there, here, "web")).Phase);
        Assert.Equal(MachineState.Paused, (await here.Client.GetAsync("web", default)).State);
        Assert.Equal(MachineState.Running, (await here.Client.DoAsync("web", "resume", default)).State);
        Assert.Equal('b', await here.EchoAsync("web", 'a'));
        await there.Client.RemoveAsync("web", force: false, default);
        Assert.Equal(MachineState.Exited, (await here.Client.DoAsync("web", "kill", default)).State);
    }

    [Theory]
    [InlineData("source:memory", MachineState.Exited, null)]
    [InlineData("source:permit", MachineState.Exited, null)]
    [InlineData("source:committed", MachineState.Migrated, MachineState.Running)]
    [InlineData("target:ready", MachineState.Running, null)]
    [InlineData("target:accept", MachineState.Running, null)]
    [InlineData("target:accepted", MachineState.Migrated, MachineState.Exited)]
    public Task Whenever_a_process_is_killed_the_machine_is_on_exactly_one_side(string crash, MachineState here, MachineState? there) => CrashAsync(crash, here, there);

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData("source:offer", MachineState.Exited, null)]
    [InlineData("source:stop", MachineState.Exited, null)]
    [InlineData("source:sections", MachineState.Exited, null)]
    [InlineData("source:remainder", MachineState.Exited, null)]
    [InlineData("source:commit", MachineState.Exited, null)]
    [InlineData("target:welcome", MachineState.Running, null)]
    [InlineData("target:running", MachineState.Migrated, MachineState.Exited)]
    public Task The_same_holds_at_all_other_steps(string crash, MachineState here, MachineState? there) => CrashAsync(crash, here, there);

    private static async Task CrashAsync(string crash, MachineState here, MachineState? there)
    {
        await using var from = new DaemonFixture(("DOPPEL_CRASH", crash), []);
        await using var to = new DaemonFixture(("DOPPEL_CRASH", crash), []);
        _ = await from.Client.CreateAsync(new CreateRequest { Spec = from.Spec("web") }, default);
        _ = await from.Client.DoAsync("web", "start", default);
        Assert.Equal('b', await from.EchoAsync("web", 'a'));
        var connected = new TaskCompletionSource();
        IAsyncEnumerator<MachineEvent> events = from.Client.ReadEventsAsync(connected.SetResult, default).GetAsyncEnumerator();
        Task<bool> next = events.MoveNextAsync().AsTask();
        await connected.Task.WaitAsync(Patience);
        Task<MigrationProgress> moving = from.Client.MigrateAsync("web", new MigrateRequest { Target = $"unix:{to.Location.Socket}" }, null, default);
        while (await next.WaitAsync(Patience) && events.Current.Event is not ("migrated" or "not migrated"))
            next = events.MoveNextAsync().AsTask();
        Assert.Equal(here == MachineState.Migrated ? "migrated" : "not migrated", events.Current.Event);
        if (here == MachineState.Migrated)
            Assert.Equal(MigrationPhase.Completed, (await moving.WaitAsync(Patience)).Phase);
        else
            Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => moving.WaitAsync(Patience))).Status);
        Assert.Equal(here, (await from.Client.GetAsync("web", default)).State);
        if (here == MachineState.Running)
            Assert.Equal('d', await from.EchoAsync("web", 'c'));
        if (there is null)
        {
            Assert.Empty(await to.Client.ListAsync(default));
            // Nothing is left that would be in the way of the next.
            using var time = new CancellationTokenSource(Patience);
            while (Directory.Exists(to.Folder("web").Path))
                await Task.Delay(10, time.Token);
        }
        else
        {
            Assert.Equal(there, (await to.Client.GetAsync("web", default)).State);
            using var time = new CancellationTokenSource(Patience);
            while (there == MachineState.Running && (await to.Client.GetAsync("web", default)).Socket is null)
                await Task.Delay(10, time.Token);
            if (there == MachineState.Running)
                Assert.Equal('d', await to.EchoAsync("web", 'c'));
        }
    }

    [Fact]
    public async Task What_does_not_fit_is_named_before_memory_goes_and_the_machine_goes_on()
    {
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture();
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("web") }, default);
        string target = $"unix:{there.Location.Socket}";
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("web", new MigrateRequest { Target = target }, null, default))).Status);
        _ = await here.Client.DoAsync("web", "start", default);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("web", new MigrateRequest { Target = "nowhere" }, null, default))).Status);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("web", new MigrateRequest { Target = target, Connections = 99 }, null, default))).Status);
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("web", new MigrateRequest { Target = "unix:/nonexistent" }, null, default))).Status);
        _ = await there.Client.CreateAsync(new CreateRequest { Spec = there.Spec("web") }, default);
        ApiException taken = await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("web", new MigrateRequest { Target = target }, null, default));
        Assert.Contains("already", taken.Message, StringComparison.Ordinal);
        await there.Client.RemoveAsync("web", force: false, default);
        Assert.Equal(MachineState.Running, (await here.Client.GetAsync("web", default)).State);
        (int code, string output, string errors) = here.Doppel(["migrate", "web", target, "--json", "--engine", "steam"]);
        Assert.Equal(24, code);
        Assert.Contains("steam", errors, StringComparison.Ordinal);
        Assert.Equal("", output);
        (code, output, errors) = here.Doppel(["migrate", "web", target, "--downtime", "0.1s", "--bandwidth", "500M", "--connections", "3"]);
        Assert.Equal((0, ""), (code, output));
        Assert.Contains("stood still for", errors, StringComparison.Ordinal);
        Assert.Equal('b', await there.EchoAsync("web", 'a'));
    }

    [Fact]
    public async Task A_machine_moves_over_TLS_with_its_disks_and_starts_again_there()
    {
        string address = RemoteTests.FreeAddress();
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture("--listen", address);
        string said = (await there.Daemon.StandardError.ReadLineAsync())!, fingerprint = said.Split("fingerprint is ")[1].Split(',')[0];
        string token = Path.Combine(there.Location.State.Path, "tls", "token"), disk = Path.Combine(here.Location.State.Path, "disk.qcow2");
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("web") with { Disks = [new DiskSpec { Path = disk }], Vnc = new VncSpec(), Display = DisplayAdapterKind.Std } }, default);
        _ = await here.Client.DoAsync("web", "start", default);
        Assert.Equal('b', await here.EchoAsync("web", 'a'));

        // Without the token, with another, and without knowing the certificate, nothing moves.
        Assert.Equal(2, here.Doppel(["migrate", "web", address, "--copy-disks"]).Code);
        Assert.Equal(24, here.Doppel(["migrate", "web", address, "--copy-disks", "--target-token-file", token]).Code);
        Assert.Equal(24, here.Doppel(["migrate", "web", address, "--copy-disks", "--token-file", here.Kernel + "-none", "--target-token-file", Token(here), "--fingerprint", fingerprint]).Code);
        Assert.Equal('d', await here.EchoAsync("web", 'c'));

        (int code, string output, string errors) = here.Doppel(["migrate", "web", address, "--copy-disks", "--json", "--token-file", token, "--fingerprint", fingerprint]);
        Assert.Equal((0, ""), (code, errors));
        Assert.True(JsonDocument.Parse(output).RootElement.GetProperty("downtimeSeconds").GetDouble() > 0);
        Assert.False(Directory.Exists(Path.Combine(here.Location.State.Path, "handovers")) && Directory.GetFiles(Path.Combine(here.Location.State.Path, "handovers")).Length != 0);
        Assert.Equal('f', await there.EchoAsync("web", 'e'));
        MachineView arrived = await there.Client.GetAsync("web", default);
        Assert.StartsWith(arrived.Folder + "/", arrived.Spec.Disks[0].Path, StringComparison.Ordinal);
        Assert.Equal(disk, arrived.Spec.Disks[0].Identity);
        Assert.Equal(MachineState.Migrated, (await here.Client.GetAsync("web", default)).State);
        // What it left can go; it has all that it needs.
        await here.Client.RemoveAsync("web", force: false, default);
        File.Delete(disk);
        _ = await there.Client.DoAsync("web", "kill", default);
        Assert.Equal(MachineState.Running, (await there.Client.DoAsync("web", "start", default)).State);
        Assert.Equal('b', await there.EchoAsync("web", 'a'));

        // A process that is taken over could put a link to another file there, for the next to be given.
        _ = await there.Client.DoAsync("web", "kill", default);
        File.Delete(arrived.Spec.Disks[0].Path);
        _ = File.CreateSymbolicLink(arrived.Spec.Disks[0].Path, token);
        Assert.Contains("a link", (await Assert.ThrowsAsync<ApiException>(() => there.Client.DoAsync("web", "start", default))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_move_is_an_operation_that_can_be_followed_and_cancelled_also_by_the_next_daemon()
    {
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture();
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("web") }, default);
        _ = await here.Client.DoAsync("web", "start", default);
        string target = $"unix:{there.Location.Socket}", disk = Path.Combine(here.Location.State.Path, "disk.raw");
        // So slow that there is time for all of this.
        byte[] content = new byte[16 << 20];
        Random.Shared.NextBytes(content);
        File.WriteAllBytes(disk, content);
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("big") with { Disks = [new DiskSpec { Path = disk, Format = DiskFormat.Raw }] } }, default);
        _ = await here.Client.DoAsync("big", "start", default);
        var slow = new MigrateRequest { Target = target, CopyDisks = true, Bandwidth = 1 << 20 };
        using var cancel = new CancellationTokenSource();
        var seen = new List<Operation>();
        Task<MigrationProgress> moving = here.Client.MigrateAsync(
            "big",
            slow,
            operation =>
            {
                seen.Add(operation);
                if (operation.Progress is { Phase: "disks", Done: > 0 })
                    cancel.Cancel();
            },
            cancel.Token);
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => moving.WaitAsync(Patience));
        Assert.Equal(("migrate", OperationState.Cancelled), (seen[^1].Kind, seen[^1].State));
        Assert.Contains(seen, operation => operation.Progress is { Total: 16 << 20, Unit: "bytes" });
        Assert.Equal('b', await here.EchoAsync("big", 'a'));

        var disks = new TaskCompletionSource();
        // At once, though the process at the target has hardly heard that the first one is over.
        Task<MigrationProgress> again = here.Client.MigrateAsync("big", slow, operation => _ = operation.Progress?.Phase == "disks" && disks.TrySetResult(), default);
        await await Task.WhenAny(disks.Task, again).WaitAsync(Patience);
        Assert.Contains("moved already", (await Assert.ThrowsAsync<ApiException>(() => here.Client.MigrateAsync("big", slow, null, default))).Message, StringComparison.Ordinal);
        here.Daemon.Kill();
        await here.Daemon.WaitForExitAsync();
        here.Restart();
        Operation going = Assert.Single(await here.Client.ListOperationsAsync(default));
        Assert.Equal(("migrate", "big", OperationState.Running), (going.Kind, going.Machine, going.State));
        _ = await here.Client.CancelOperationAsync(going.Id, default);
        Assert.Equal(OperationState.Cancelled, (await here.Client.FollowAsync(going.Id, null, default).WaitAsync(Patience)).State);
        Assert.Equal('d', await here.EchoAsync("big", 'c'));
        Assert.Equal(MigrationPhase.Completed, (await here.Client.MigrateAsync("big", slow with { Bandwidth = 0 }, null, default).WaitAsync(Patience)).Phase);
        Assert.Equal('f', await there.EchoAsync("big", 'e'));
    }

    [Fact]
    public async Task A_daemon_that_is_killed_while_a_machine_arrives_finds_it_again()
    {
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture();
        _ = await here.Client.CreateAsync(new CreateRequest { Spec = here.Spec("web") }, default);
        _ = await here.Client.DoAsync("web", "start", default);
        var begun = new TaskCompletionSource();
        Task<MigrationProgress> moving = here.Client.MigrateAsync(
            "web", new MigrateRequest { Target = $"unix:{there.Location.Socket}" }, operation => _ = operation.Progress is not null && begun.TrySetResult(), default);
        await begun.Task.WaitAsync(Patience);
        there.Daemon.Kill();
        await there.Daemon.WaitForExitAsync();
        Assert.Equal(MigrationPhase.Completed, (await moving.WaitAsync(Patience)).Phase);
        there.Restart();
        Assert.Equal(MachineState.Running, (await there.Client.GetAsync("web", default)).State);
        Assert.Equal('b', await there.EchoAsync("web", 'a'));
        Assert.False(there.Folder("web").IsArriving);
        Assert.Equal(MachineState.Exited, (await there.Client.DoAsync("web", "kill", default)).State);
    }

    private static string Token(DaemonFixture daemon)
    {
        string path = Path.Combine(Path.GetDirectoryName(daemon.Kernel)!, "other-token");
        File.WriteAllText(path, new string('0', 64));
        return path;
    }

    private static Task<MigrationProgress> MoveAsync(DaemonFixture from, DaemonFixture to, string name) =>
        from.Client.MigrateAsync(name, new MigrateRequest { Target = $"unix:{to.Location.Socket}" }, null, default).WaitAsync(Patience);
}
