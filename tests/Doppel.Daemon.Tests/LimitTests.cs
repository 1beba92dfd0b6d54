using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Limits;

namespace Doppel.Daemon.Tests;

/// <summary>What machines may have of the host.</summary>
public sealed class LimitTests
{
    [Theory]
    [InlineData(1, 100, 300)]
    [InlineData(2, 100, 100, 200)]
    [InlineData(3, 50, 1000, 400, 100)]
    public void Weights_hold_within_a_twentieth_whoever_else_uses_the_host(int strangers, params int[] weights)
    {
        const int HostCpus = 2, Threads = 2;
        var shares = new CpuShares();
        double?[] caps = new double?[weights.Length];
        double[] used = new double[weights.Length];
        for (int turn = 0; turn < 100; turn++)
        {
            double[] got = Schedule(HostCpus, [.. caps.Select(cap => Math.Min(cap ?? Threads, Threads)), .. Enumerable.Repeat((double)Threads, strangers)]);
            var now = weights.Select((weight, i) => new CpuShares.Machine($"m{i}", weight, Threads, got[i], Math.Max(0, Math.Min(caps[i] ?? Threads, Threads) - got[i]), caps[i] is double cap && got[i] >= cap - 0.001 ? 1 - (cap / Threads) : 0)).ToList();
            IReadOnlyDictionary<string, double?> next = shares.Share(now);
            for (int i = 0; i < weights.Length; i++)
            {
                caps[i] = next[$"m{i}"];
                if (turn >= 50)
                    used[i] += got[i];
            }
        }

        for (int i = 0; i < weights.Length; i++)
            Assert.InRange(used[i] / used.Sum() / ((double)weights[i] / weights.Sum()), 0.95, 1.05);
    }

    [Fact]
    public void One_that_is_alone_again_gets_all()
    {
        var shares = new CpuShares();
        IReadOnlyDictionary<string, double?> caps = shares.Share([new("a", 100, 2, 1, 1, 0), new("b", 300, 2, 1, 1, 0)]);
        Assert.Equal((0.5, 1.5), (caps["a"], caps["b"]));
        for (int turn = 0; turn < 20; turn++)
            caps = shares.Share([new("a", 100, 2, caps["a"] ?? 2, 0, caps["a"] is null ? 0 : 0.5), new("b", 300, 2, 0, 0, 0)]);
        Assert.Equal((null, null), (caps["a"], caps["b"]));
    }

    [Fact]
    public void Memory_is_admitted_up_to_the_ratio_and_the_refusal_says_what_is_free()
    {
        const ulong Gigabyte = 1 << 30;
        var admission = new MemoryAdmission(4 * Gigabyte, 1.5);
        MachineSpec spec = new() { Name = "m", Kernel = "k", Memory = 2 * Gigabyte };
        using IDisposable first = admission.Admit(spec, () => [2 * Gigabyte]);
        using IDisposable second = admission.Admit(spec, () => [2 * Gigabyte]);
        ApiException error = Assert.Throws<ApiException>(() => admission.Admit(spec with { Memory = Gigabyte }, () => [2 * Gigabyte]));
        Assert.Equal(409, error.Status);
        Assert.Contains("6 GiB of 6 GiB", error.Message, StringComparison.Ordinal);
        Assert.Contains("--memory-overcommit", error.Message, StringComparison.Ordinal);
        admission.Admit(spec with { Overcommit = true }, () => [2 * Gigabyte]).Dispose();
        second.Dispose();
        admission.Admit(spec with { Memory = Gigabyte }, () => [2 * Gigabyte]).Dispose();
    }

    [Fact]
    public async Task A_machine_that_has_no_room_does_not_start()
    {
        await using var daemon = new DaemonFixture("--memory-overcommit", "0.1");
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("big") with { Memory = MemoryAdmission.HostMemory() / 2 & ~0xFFFUL } }, default);
        ApiException error = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("big", "start", default));
        Assert.Contains("are free", error.Message, StringComparison.Ordinal);
        Assert.Equal(6, daemon.TryStart(["--memory-overcommit", "none"]).Code);
    }

    [Fact]
    public async Task A_cap_holds_and_is_lifted_and_a_weight_is_kept()
    {
        // The guest waits for a byte by looking again and again, so it uses a whole processor.
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") with { CpuCap = 0.2 } }, default);
        MachineView view = await daemon.Client.DoAsync("one", "start", default);
        using ControlClient client = await ControlClient.ConnectAsync(view.Socket!);
        double capped = await UseAsync(client, 2);
        // Less when the host is busy; more never, but for the start of the period.
        Assert.InRange(capped, 0, 0.2 * 1.05 + 0.02);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
        Assert.Equal(0.4, (await daemon.Client.UpdateAsync("one", new UpdateRequest { CpuCap = 0.4, CpuWeight = 300 }, default)).Spec.CpuCap);
        Assert.InRange(await UseAsync(client, 2), 0, 0.4 * 1.05 + 0.02);
        Assert.True((await AskAsync(client)).ThrottledSeconds > 0);
        view = await daemon.Client.UpdateAsync("one", new UpdateRequest { CpuCap = 0 }, default);
        Assert.Equal((null, 300), (view.Spec.CpuCap, view.Spec.CpuWeight));
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.UpdateAsync("one", new UpdateRequest { CpuWeight = 0 }, default))).Status);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.UpdateAsync("one", new UpdateRequest { CpuCap = -1 }, default))).Status);
        Assert.Equal(0, daemon.Doppel(["update", "one", "--cpu-weight", "50", "--cpu-cap", "1.5"]).Code);
        Assert.Equal(1.5, (await daemon.Client.GetAsync("one", default)).Spec.CpuCap);
        // One that is held back can still be paused, saved and ended.
        _ = await daemon.Client.UpdateAsync("one", new UpdateRequest { CpuCap = 0.05 }, default);
        Assert.Equal(MachineState.Paused, (await daemon.Client.DoAsync("one", "pause", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "resume", default)).State);
        Assert.Equal(MachineState.Suspended, (await daemon.Client.DoAsync("one", "suspend", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "resume", default)).State);
        Assert.Equal(MachineState.Exited, (await daemon.Client.DoAsync("one", "kill", default)).State);
    }

    [Fact]
    public async Task Limits_of_disks_and_cards_are_changed_kept_and_no_matter_to_snapshots()
    {
        await using var daemon = new DaemonFixture();
        string disk = Path.Combine(daemon.Location.State.Path, "disk.qcow2");
        DiskImages.Create(disk, new DiskCreateOptions { Format = DiskFormat.Qcow2, Length = 1 << 20 });
        MachineSpec spec = daemon.Spec("one") with { Disks = [new DiskSpec { Path = disk, BytesPerSecond = 1 << 20 }] };
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CreateAsync(new CreateRequest { Spec = spec with { Disks = [new DiskSpec { Path = disk, OperationsPerSecond = 1 }] } }, default))).Status);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = spec }, default);
        _ = await daemon.Client.DoAsync("one", "start", default);
        _ = await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Name = "before" }, default);
        Assert.Equal(0, daemon.Doppel(["update", "one", "--disk", "0,bps=2M,iops=100"]).Code);
        DiskSpec Limited() => daemon.Folder("one").Record!.Spec.Disks[0];
        Assert.Equal((2UL << 20, 100), (Limited().BytesPerSecond, Limited().OperationsPerSecond));
        foreach (string wrong in new[] { "1,bps=1M", "0", "0,bps=1K", "0,iops=5", "0,speed=1", "x,bps=1M" })
            Assert.Equal(2, daemon.Doppel(["update", "one", "--disk", wrong]).Code);
        Assert.Equal(2, daemon.Doppel(["update", "one", "--net", "0,bps=1M"]).Code);
        // The machine that goes back to a snapshot is the same under other limits.
        _ = await daemon.Client.DoAsync("one", "snapshots/before/restore", default);
        SnapshotReport after = await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Name = "after" }, default);
        Assert.Equal(2UL << 20, (await daemon.Client.GetSnapshotAsync("one", after.Name, default)).Machine.Disks[0].BytesPerSecond);
        Assert.Equal(0, daemon.Doppel(["update", "one", "--disk", "0,bps=0"]).Code);
        _ = await daemon.Client.DoAsync("one", "kill", default);
        _ = await daemon.Client.DoAsync("one", "snapshots/after/restore", default);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
        Assert.Equal((0UL, 100), (Limited().BytesPerSecond, Limited().OperationsPerSecond));
    }

    private static async Task<double> UseAsync(ControlClient client, double seconds)
    {
        CpuUse before = await AskAsync(client);
        long begin = System.Diagnostics.Stopwatch.GetTimestamp();
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        CpuUse after = await AskAsync(client);
        return (after.UsedSeconds - before.UsedSeconds) / System.Diagnostics.Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    private static async Task<CpuUse> AskAsync(ControlClient client) => (await client.AskAsync(new ControlRequest(ControlRequest.Share))).CpuUse!;

    // What a fair host gives to those who want so much: each the same, but for those who want less.
    private static double[] Schedule(double cpus, double[] wanted)
    {
        double[] got = new double[wanted.Length];
        double left = cpus;
        foreach ((double want, int i, int others) in wanted.Select((want, i) => (want, i)).OrderBy(each => each.want).Select((each, rank) => (each.want, each.i, wanted.Length - rank)))
        {
            got[i] = Math.Min(want, left / others);
            left -= got[i];
        }

        return got;
    }
}
