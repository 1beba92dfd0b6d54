using System.Net.Sockets;
using System.Text;
using Doppel.Vmm.Control;
using Doppel.Vmm.Tests.Debugging;

namespace Doppel.Vmm.Tests.Control;

public sealed class ControlTests : IDisposable
{
    private readonly string _parent = Directory.CreateTempSubdirectory("doppel-c-").FullName;
    private readonly ControlDirectory _directory;

    public ControlTests() => _directory = new ControlDirectory(Path.Combine(_parent, "doppel"));

    public void Dispose() => Directory.Delete(_parent, recursive: true);

    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public async Task A_running_machine_tells_its_statistics(string engine)
    {
        await using VirtualMachine machine = Create(engine);
        await using ControlServer server = ControlServer.Start(machine, _directory);
        machine.Start();
        using ControlClient client = await ControlClient.ConnectAsync(Assert.Single(_directory.List()));
        MachineStatistics first = await client.GetStatisticsAsync(), second;
        do
            second = await client.GetStatisticsAsync();
        while (second.Total.Instructions < first.Total.Instructions + 100_000);
        Assert.Equal(("loop", engine, Environment.ProcessId, VmState.Running), (second.Name, second.Engine, second.ProcessId, second.State));
        Assert.Equal(second.Total.Instructions, Assert.Single(second.Cpus).Instructions);
        Assert.True(second.Total.BlocksTranslated > 0);
        Assert.True(second.Total.TlbMisses > 0);
        Assert.True(second.Seconds > first.Seconds);
        if (engine == EngineNames.Translator)
        {
            Assert.NotEmpty(second.Total.Exits);
            Assert.True(second.Total.Entries > 0);
        }
    }

    [Fact]
    public async Task The_socket_and_its_directory_are_the_users_alone_and_go_with_the_server()
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        string path;
        await using (ControlServer server = ControlServer.Start(machine, _directory))
        {
            path = server.Path;
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(_directory.Path));
            Assert.Equal([path], Directory.GetFiles(_directory.Path));
        }

        Assert.Empty(Directory.GetFiles(_directory.Path));
    }

    [Fact]
    public async Task Two_machines_of_one_process_have_two_sockets()
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        await using ControlServer first = ControlServer.Start(machine, _directory);
        await using ControlServer second = ControlServer.Start(machine, _directory);
        Assert.NotEqual(first.Path, second.Path);
        Assert.Equal(2, _directory.List().Count);
    }

    [Fact]
    public async Task A_stale_socket_is_removed_by_who_lists_and_by_who_needs_its_name()
    {
        Assert.Empty(_directory.List());
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        string name;
        await using (ControlServer server = ControlServer.Start(machine, _directory))
            name = server.Path;
        MakeStale(name);
        await using (ControlServer server = ControlServer.Start(machine, _directory))
            Assert.Equal(name, server.Path);
        MakeStale(name);
        MakeStale(Path.Combine(_directory.Path, "1.sock"));
        Assert.Empty(_directory.List());
        Assert.Empty(Directory.GetFiles(_directory.Path));
    }

    [Fact]
    public async Task A_directory_that_can_not_be_private_is_named()
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        File.WriteAllText(_directory.Path, "");
        IOException error = Assert.Throws<IOException>(() => ControlServer.Start(machine, _directory));
        Assert.Contains(_directory.Path, error.Message, StringComparison.Ordinal);
        var deep = new ControlDirectory(Path.Combine(_parent, new string('d', 120)));
        Assert.Contains(deep.Path, Assert.Throws<IOException>(() => ControlServer.Start(machine, deep)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"verb\":\"dance\"}\n", "{\"error\":\"verb \\u0022dance\\u0022: statistics, wait, readiness, tones, console, pause, resume, snapshot, revert, remove-snapshot, suspend, migrate, migration, cancel-migration, settle-migration, update, share, balloon, change-medium, power-button, reset, stop, access, cancel, screenshot, input would be right\"}\n")]
    [InlineData("hello\n", "{\"error\":\"\\u0022hello\\u0022 is no request: {\\u0022verb\\u0022:\\u0022statistics\\u0022} would be right\"}\n")]
    [InlineData("{}\n", "{\"error\":\"\\u0022{}\\u0022 is no request: {\\u0022verb\\u0022:\\u0022statistics\\u0022} would be right\"}\n")]
    [InlineData("null\n", "{\"error\":\"\\u0022null\\u0022 is no request: {\\u0022verb\\u0022:\\u0022statistics\\u0022} would be right\"}\n")]
    [InlineData("{\"verb\":\"a\"}\n{\"verb\":\"b\"}\nrest", "{\"error\":\"verb \\u0022a\\u0022: statistics, wait, readiness, tones, console, pause, resume, snapshot, revert, remove-snapshot, suspend, migrate, migration, cancel-migration, settle-migration, update, share, balloon, change-medium, power-button, reset, stop, access, cancel, screenshot, input would be right\"}\n{\"error\":\"verb \\u0022b\\u0022: statistics, wait, readiness, tones, console, pause, resume, snapshot, revert, remove-snapshot, suspend, migrate, migration, cancel-migration, settle-migration, update, share, balloon, change-medium, power-button, reset, stop, access, cancel, screenshot, input would be right\"}\n")]
    public async Task A_wrong_request_gets_an_error_that_says_what_would_be_right(string request, string reply)
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        await using ControlServer server = ControlServer.Start(machine, _directory);
        Assert.Equal(reply, await ExchangeAsync(server.Path, Encoding.UTF8.GetBytes(request)));
    }

    [Fact]
    public async Task A_request_is_followed_and_one_that_is_cancelled_leaves_nothing()
    {
        var state = new StateDirectory(Path.Combine(_parent, "state"));
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        await using ControlServer server = ControlServer.Start(machine, _directory, state);
        machine.Start();
        var seen = new List<OperationProgress>();
        using ControlClient client = await ControlClient.ConnectAsync(server.Path);
        ControlReply made = await client.FollowAsync(new ControlRequest(ControlRequest.Snapshot) { Name = "first" }, seen.Add, default);
        Assert.Equal("first", made.Snapshot?.Name);
        Assert.Contains(seen, now => now.Phase == "disks");
        // Asked for before anything is done; the connection goes on.
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.FollowAsync(new ControlRequest(ControlRequest.Wait), _ => { }, new CancellationToken(true)));
        Assert.Equal(VmState.Running, (await client.GetStatisticsAsync()).State);
        _ = await Assert.ThrowsAsync<IOException>(() => client.FollowAsync(new ControlRequest(ControlRequest.Snapshot) { Name = "first" }, _ => { }, default));
        Assert.Equal("first", Assert.Single(state.SnapshotsOf(machine.Spec.Name).List().Snapshots).Name);
    }

    [Fact]
    public async Task A_request_without_end_is_cut_off()
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        await using ControlServer server = ControlServer.Start(machine, _directory);
        Assert.StartsWith("{\"error\":\"a request of more than 65536 bytes", await ExchangeAsync(server.Path, new byte[ControlSession.LongestRequest]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_connects_and_says_nothing_keeps_nobody_waiting()
    {
        await using VirtualMachine machine = Create(EngineNames.Interpreter);
        await using ControlServer server = ControlServer.Start(machine, _directory);
        using ControlClient idle = await ControlClient.ConnectAsync(server.Path);
        using ControlClient client = await ControlClient.ConnectAsync(server.Path);
        Assert.Equal(VmState.Created, (await client.GetStatisticsAsync()).State);
    }

    private static async Task<string> ExchangeAsync(string path, byte[] request)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        await using var stream = new NetworkStream(socket);
        await stream.WriteAsync(request);
        socket.Shutdown(SocketShutdown.Send);
        using var reader = new StreamReader(stream);
        return await reader.ReadToEndAsync();
    }

    // A bound socket whose owner is gone.
    private static void MakeStale(string path)
    {
        string other = path + "-bound";
        using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            socket.Bind(new UnixDomainSocketEndPoint(other));
            File.Move(other, path);
        }

        Assert.True(File.Exists(path));
    }

    private VirtualMachine Create(string engine)
    {
        string kernel = Path.Combine(_parent, "kernel");
        File.WriteAllBytes(kernel, LoopGuest.Create().Image);
        return VirtualMachine.Create(new MachineSpec { Name = "loop", Kernel = kernel, Engine = engine, Memory = 16 << 20 }, new MachineConnections { Serial1 = Devices.Console.NullConsole.Instance });
    }
}
