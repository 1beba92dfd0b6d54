using Doppel.Api;
using Doppel.Host.Memory;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Tests.Migration;

namespace Doppel.Daemon.Tests;

/// <summary>Machines that go on at the other daemon before all of their memory is there.</summary>
public sealed class PostCopyTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private const uint Swept = 24 << 20;

    [Theory]
    [InlineData(EngineNames.Translator)]
    [InlineData(EngineNames.Interpreter)]
    public async Task A_machine_that_writes_too_fast_goes_on_and_finds_all_of_its_memory(string engine)
    {
        await using var here = new DaemonFixture();
        await using var there = new DaemonFixture();
        await StartAsync(here, engine);
        if (!IsPossible)
        {
            await RefusedAsync(here, there);
            return;
        }

        MigrationProgress end = await MoveAsync(here, there, PostCopyChoice.Required);
        Assert.Equal((MigrationPhase.Completed, null, null), (end.Phase, end.Message, end.Notice));
        Assert.True(end.LatePages > 0, $"{end}");
        await SweptAsync(there, 4);
        // When all is there it is a machine as any other.
        SnapshotReport saved = await there.Client.SnapshotAsync("sweep", new SnapshotRequest { Name = "s" }, default);
        Assert.True(saved.StoppedSeconds > 0);
        _ = await there.Client.DoAsync("sweep", "kill", default);
        _ = await there.Client.DoAsync("sweep", "snapshots/s/restore", default);
        await SweptAsync(there, 3);
    }

    [Theory]
    [InlineData("source:late", "not all of its memory had come")]
    [InlineData("pager:late", "was killed")]
    public async Task A_machine_that_loses_what_brings_its_memory_ends_and_says_why(string crash, string says)
    {
        if (!IsPossible)
            return;
        await using var here = new DaemonFixture(("DOPPEL_CRASH", crash));
        await using var there = new DaemonFixture(("DOPPEL_CRASH", crash));
        await StartAsync(here, EngineNames.Translator);
        _ = await MoveAsync(here, there, PostCopyChoice.Auto);
        MachineView lost = await there.Client.GetAsync("sweep", default);
        for (; lost.State == MachineState.Running; lost = await there.Client.GetAsync("sweep", default))
            await Task.Delay(100);
        Assert.Equal(MachineState.Exited, lost.State);
        Assert.Contains(says, lost.Exit?.Message, StringComparison.Ordinal);
        Assert.Equal(MachineState.Migrated, (await here.Client.GetAsync("sweep", default)).State);
        Assert.Equal(MachineState.Running, (await there.Client.DoAsync("sweep", "start", default)).State);
        await SweptAsync(there, 2);
    }

    private static bool IsPossible
    {
        get
        {
            using PageFaultDescriptor? faults = PageFaultDescriptor.TryOpen(out _);
            return faults is not null;
        }
    }

    private static async Task RefusedAsync(DaemonFixture here, DaemonFixture there)
    {
        ApiException refused = await Assert.ThrowsAsync<ApiException>(() => MoveAsync(here, there, PostCopyChoice.Required));
        Assert.Contains("no post-copy", refused.Message, StringComparison.Ordinal);
        MigrationProgress end = await MoveAsync(here, there, PostCopyChoice.Auto);
        Assert.Equal(MigrationPhase.Completed, end.Phase);
        Assert.Contains("no post-copy", end.Notice, StringComparison.Ordinal);
    }

    private static async Task StartAsync(DaemonFixture daemon, string engine)
    {
        File.WriteAllBytes(daemon.Kernel, SweepGuest.Create(Swept, 64));
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("sweep") with { Memory = 64 << 20, Engine = engine } }, default);
        _ = await daemon.Client.DoAsync("sweep", "start", default);
        await SweptAsync(daemon, 2);
    }

    // So little downtime that the rest of what it writes can't be sent in it.
    private static Task<MigrationProgress> MoveAsync(DaemonFixture from, DaemonFixture to, PostCopyChoice postCopy) =>
        from.Client.MigrateAsync("sweep", new MigrateRequest { Target = $"unix:{to.Location.Socket}", Downtime = 1, PostCopy = postCopy }, null, default).WaitAsync(Patience);

    private static async Task SweptAsync(DaemonFixture daemon, int passes)
    {
        using var time = new CancellationTokenSource(Patience);
        using ControlClient client = await ControlClient.ConnectAsync((await daemon.Client.GetAsync("sweep", time.Token)).Socket!, time.Token);
        Stream console = await client.AttachConsoleAsync(time.Token);
        byte[] said = new byte[1];
        for (int pass = 0; pass < passes; pass++)
        {
            // It answers after a pass over its memory, by the next letter.
            byte asked = (byte)('a' + (pass * 2));
            await console.WriteAsync(new[] { asked }, time.Token);
            do
            {
                await console.ReadExactlyAsync(said, time.Token);
                Assert.False(said[0] is (byte)'X' or (byte)'T', $"the guest says {(char)said[0]}");
            }
            while (said[0] != asked + 1);
        }
    }
}
