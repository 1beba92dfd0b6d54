using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Daemon.Tests;

/// <summary>What a machine in the background says by other means than its console.</summary>
public sealed class BoardTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-b-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_guest_prints_into_the_users_file_and_its_beeps_are_among_the_events()
    {
        string kernel = Path.Combine(_folder, "kernel"), printed = Path.Combine(_folder, "printed");
        await File.WriteAllBytesAsync(kernel, BoardGuest.Image);
        await using var daemon = new DaemonFixture();
        var connected = new TaskCompletionSource();
        await using IAsyncEnumerator<MachineEvent> events = daemon.Client.ReadEventsAsync(connected.SetResult, default).GetAsyncEnumerator();
        Task<bool> next = events.MoveNextAsync().AsTask();
        await connected.Task.WaitAsync(Patience);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("board") with { Kernel = kernel, Parallel = printed } }, default);
        _ = await daemon.Client.DoAsync("board", "start", default);
        foreach (char each in "LPT")
            Assert.Equal((char)(each + 1), await daemon.EchoAsync("board", each));
        while (true)
        {
            Assert.True(await next.WaitAsync(Patience));
            if (events.Current.Event == "speaker")
                break;
            next = events.MoveNextAsync().AsTask();
        }

        EventTone tone = events.Current.Tone!;
        Assert.Equal(("board", 1000.2), (events.Current.Machine, tone.Hertz));
        Assert.InRange(tone.Seconds, 0.025, Patience.TotalSeconds);
        Assert.StartsWith("1000.2 Hz for 0.", events.Current.Detail, StringComparison.Ordinal);

        // A second machine of the first's state has paper of its own.
        _ = await daemon.Client.CloneAsync("board", new CloneRequest("twin"), null, default);
        _ = await daemon.Client.DoAsync("twin", "resume", default);
        Assert.Equal('?', await daemon.EchoAsync("twin", '>'));
        Assert.Equal('C', await daemon.EchoAsync("board", 'B'));
        foreach (string name in (string[])["board", "twin"])
            _ = await daemon.Client.DoAsync(name, "kill", default);
        Assert.Equal("LPTB", await File.ReadAllTextAsync(printed));
        Assert.Equal(">", await File.ReadAllTextAsync((await daemon.Client.GetAsync("twin", default)).Spec.Parallel!));
    }

    [Fact]
    public async Task A_machine_with_UEFI_is_cloned_beside_itself_and_keeps_its_variables_under_another_name()
    {
        await using var daemon = new DaemonFixture();
        string variables = MachinePaths.VariablesIn(daemon.Folder("uefi").Path);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("uefi") with { Kernel = "", Firmware = FirmwareKind.Uefi, FirmwareVariables = variables } }, default);
        _ = await daemon.Client.DoAsync("uefi", "start", default);
        _ = await daemon.Client.CloneAsync("uefi", new CloneRequest("twin"), null, default);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("twin", "resume", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.GetAsync("uefi", default)).State);
        string own = (await daemon.Client.GetAsync("twin", default)).Spec.FirmwareVariables!;
        Assert.Equal(MachinePaths.VariablesIn(daemon.Folder("twin").Path), own);
        Assert.Equal(new FileInfo(variables).Length, new FileInfo(own).Length);

        _ = await daemon.Client.SnapshotAsync("twin", new SnapshotRequest { Name = "then" }, default);
        _ = await daemon.Client.DoAsync("twin", "kill", default);
        await daemon.Client.RenameAsync("twin", "third", default);
        string moved = MachinePaths.VariablesIn(daemon.Folder("third").Path);
        Assert.Equal(moved, (await daemon.Client.GetAsync("third", default)).Spec.FirmwareVariables);
        Assert.True(File.Exists(moved));
        _ = await daemon.Client.DoAsync("third", "start", default);
        _ = await daemon.Client.DoAsync("third", "snapshots/then/restore", default);
        _ = await daemon.Client.DoAsync("third", "kill", default);
        // Also in a process of its own.
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("third", "snapshots/then/restore", default)).State);
        Assert.False(Directory.Exists(daemon.Folder("twin").Path));
    }

    [Fact]
    public async Task A_worker_reads_the_password_of_its_VNC_clients()
    {
        string file = Path.Combine(_folder, "password");
        await File.WriteAllTextAsync(file, "secret\n");
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("seen") with { Display = DisplayAdapterKind.Std, Vnc = new VncSpec { PasswordFile = file } } }, default);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("seen", "start", default)).State);
    }
}
