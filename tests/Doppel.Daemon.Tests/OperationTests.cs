using System.Text.Json;
using Doppel.Api;
using Doppel.Vmm.Control;

namespace Doppel.Daemon.Tests;

/// <summary>What takes its time: followed, listed, cancelled.</summary>
public sealed class OperationTests
{
    [Fact]
    public async Task An_operation_is_followed_to_its_end_and_remembered()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        Operation began = await daemon.Client.BeginAsync("machines/one/start", default);
        Assert.Equal(("start", "one", OperationState.Running), (began.Kind, began.Machine, began.State));
        Operation ended = await daemon.Client.FollowAsync(began.Id, null, default);
        Assert.Equal(OperationState.Done, ended.State);
        Assert.True(ended.Ended >= ended.Began);
        Assert.Equal(MachineState.Running, ended.Result!.Value.Deserialize(ApiJson.Default.MachineView)!.State);
        // One who comes late is told the end.
        Assert.Equal(OperationState.Done, (await daemon.Client.FollowAsync(began.Id, null, default)).State);
        ended = await daemon.Client.FollowAsync((await daemon.Client.BeginAsync("machines/one/start", default)).Id, null, default);
        Assert.Equal((OperationState.Failed, 409), (ended.State, ended.Status));
        Assert.Contains("runs already", ended.Error, StringComparison.Ordinal);
        var seen = new List<Operation>();
        SnapshotReport made = await daemon.Client.SnapshotAsync("one", new SnapshotRequest(), default, seen.Add);
        Assert.Equal("s1", made.Name);
        Assert.Equal(OperationState.Done, seen[^1].State);
        Assert.Equal(["start", "start", "snapshot"], (await daemon.Client.ListOperationsAsync(default)).Select(o => o.Kind));
        Assert.Equal(404, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.GetOperationAsync("77", default))).Status);
        Assert.Contains("snapshot", daemon.Doppel(["operation", "ls"]).Output, StringComparison.Ordinal);
        Assert.Equal("Done", JsonDocument.Parse(daemon.Doppel(["operation", "show", began.Id]).Output).RootElement.GetProperty("state").GetString());
    }

    [Fact]
    public async Task An_operation_that_is_cancelled_leaves_what_was()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one"), Restart = RestartPolicy.Always }, default);
        _ = await daemon.Client.DoAsync("one", "start", default);
        // This guest hears no power button, so it would take its minute.
        Operation stop = await daemon.Client.BeginAsync("machines/one/stop?timeout=60", default);
        _ = await daemon.Client.CancelOperationAsync(stop.Id, default);
        stop = await daemon.Client.FollowAsync(stop.Id, null, default);
        Assert.Equal((OperationState.Cancelled, 409), (stop.State, stop.Status));
        Assert.Equal(MachineState.Running, (await daemon.Client.GetAsync("one", default)).State);
        using var enough = new CancellationTokenSource();
        Task<MachineView> restart = daemon.Client.DoAsync("one", "restart?timeout=60", enough.Token, _ => enough.Cancel());
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => restart);
        Assert.False(daemon.Folder("one").IsStopAsked);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
    }

    [Fact]
    public async Task A_clone_is_an_operation_and_goes_on_where_its_original_was()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one"), Restart = RestartPolicy.OnFailure }, default);
        _ = await daemon.Client.DoAsync("one", "start", default);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
        MachineView clone = await daemon.Client.CloneAsync("one", new CloneRequest("two"), null, default);
        Assert.Equal((MachineState.Suspended, RestartPolicy.OnFailure, "two"), (clone.State, clone.Restart, clone.Spec.Name));
        // What it was cloned from in passing is gone again.
        Assert.Empty(await daemon.Client.ListSnapshotsAsync("one", default));
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("two", "resume", default)).State);
        Assert.Equal('d', await daemon.EchoAsync("two", 'c'));
        _ = await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Name = "base" }, default);
        Assert.Equal("three", (await daemon.Client.CloneAsync("one", new CloneRequest("three") { Snapshot = "base" }, null, default)).Name);
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CloneAsync("one", new CloneRequest("three"), null, default))).Status);
        Assert.Equal(404, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CloneAsync("one", new CloneRequest("four") { Snapshot = "none" }, null, default))).Status);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CloneAsync("one", new CloneRequest("../x"), null, default))).Status);
    }

    [Fact]
    public async Task A_log_is_followed_until_the_run_ends()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        MachineView view = await daemon.Client.DoAsync("one", "start", default);
        await using Stream log = await daemon.Client.GetLogsAsync("one", default, follows: true);
        using ControlClient client = await ControlClient.ConnectAsync(view.Socket!);
        Stream console = await client.AttachConsoleAsync();
        byte[] read = new byte[1];
        foreach (byte sent in "ace"u8.ToArray())
        {
            await console.WriteAsync(new[] { sent });
            Assert.Equal(1, await log.ReadAsync(read).AsTask().WaitAsync(TimeSpan.FromMinutes(1)));
            Assert.Equal(sent + 1, read[0]);
        }

        await console.WriteAsync("q"u8.ToArray());
        Assert.Equal(0, await log.ReadAsync(read).AsTask().WaitAsync(TimeSpan.FromMinutes(1)));
    }
}
