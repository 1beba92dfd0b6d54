using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;

namespace Doppel.Daemon.Tests;

/// <summary>The daemon as a process, with workers, through its API and the command.</summary>
public sealed class DaemonTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task A_machine_goes_through_its_life()
    {
        await using var daemon = new DaemonFixture();
        MachineView made = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        Assert.Equal((MachineState.Created, null), (made.State, made.ProcessId));
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default))).Status);
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("one", "pause", default))).Status);
        MachineView view = await daemon.Client.DoAsync("one", "start", default);
        Assert.Equal(MachineState.Running, view.State);
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("one", "start", default))).Status);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
        Assert.Equal(MachineState.Paused, (await daemon.Client.DoAsync("one", "pause", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "resume", default)).State);
        Assert.Equal(EngineNames.Translator, (await daemon.Client.UpdateAsync("one", new UpdateRequest { Engine = EngineNames.Translator }, default)).Spec.Engine);
        Assert.Equal("s1", (await daemon.Client.SnapshotAsync("one", new SnapshotRequest { Description = "x" }, default)).Name);
        Assert.Equal("x", Assert.Single(await daemon.Client.ListSnapshotsAsync("one", default)).Description);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "snapshots/s1/restore", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "snapshots/s1/check", default)).State);
        Assert.Equal(MachineState.Suspended, (await daemon.Client.DoAsync("one", "suspend", default)).State);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("one", "resume", default)).State);
        Assert.Equal('d', await daemon.EchoAsync("one", 'c'));
        view = await daemon.Client.DoAsync("one", "kill", default);
        Assert.Equal((MachineState.Exited, VmExitKind.Stopped), (view.State, view.Exit?.Kind));
        view = await daemon.Client.DoAsync("one", "snapshots/s1/restore", default);
        Assert.Equal(MachineState.Running, view.State);
        // This guest hears no power button.
        view = await daemon.Client.DoAsync("one", "stop?timeout=0", default);
        Assert.Equal(MachineState.Exited, view.State);
        using (FileStream memory = File.Open(Path.Combine(daemon.Folder("one").Path, "snapshots", "s1", "memory"), FileMode.Open))
        {
            // Where the guest's code is.
            memory.Position = 0x100050;
            memory.WriteByte(0xFF);
        }

        ApiException damaged = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("one", "snapshots/s1/check", default));
        Assert.Equal(409, damaged.Status);
        Assert.Contains("memory is damaged at guest-physical 0x100000", damaged.Message, StringComparison.Ordinal);
        Assert.Equal("two", (await daemon.Client.RenameAsync("one", "two", default)).Name);
        Assert.Equal(404, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.GetAsync("one", default))).Status);
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("two", "start", default)).State);
        using (var log = new StreamReader(await daemon.Client.GetLogsAsync("two", default)))
            Assert.Equal("bd", await log.ReadToEndAsync());
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.RemoveAsync("two", force: false, default))).Status);
        await daemon.Client.RemoveAsync("two", force: true, default);
        Assert.Empty(await daemon.Client.ListAsync(default));
        Assert.False(Directory.Exists(daemon.Folder("two").Path));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Machines_survive_the_daemon_and_the_next_one_finds_them(bool isKilled)
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("stays") }, default);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("dies") }, default);
        MachineView stays = await daemon.Client.DoAsync("stays", "start", default), dies = await daemon.Client.DoAsync("dies", "start", default);
        if (isKilled)
            daemon.Daemon.Kill();
        else
            await daemon.Client.StopDaemonAsync(default);
        await daemon.Daemon.WaitForExitAsync();
        using (ControlClient client = await ControlClient.ConnectAsync(stays.Socket!))
            Assert.Equal("stays", (await client.GetStatisticsAsync()).Name);
        using (var worker = Process.GetProcessById(dies.ProcessId!.Value))
        {
            worker.Kill();
            await worker.WaitForExitAsync();
        }

        daemon.Restart();
        MachineView found = await daemon.Client.GetAsync("stays", default);
        Assert.Equal((MachineState.Running, stays.ProcessId), (found.State, found.ProcessId));
        Assert.Equal('b', await daemon.EchoAsync("stays", 'a'));
        await using IAsyncEnumerator<MachineEvent> events = await EventsAsync(daemon);
        // That one is gone is told by the new daemon before it starts it again.
        Assert.Equal(MachineState.Running, (await daemon.Client.DoAsync("dies", "start", default)).State);
        _ = await daemon.Client.DoAsync("stays", "kill", default);
        await WaitAsync(events, "stays", "exited");
        Assert.Equal(VmExitKind.Stopped, (await daemon.Client.GetAsync("stays", default)).Exit?.Kind);
    }

    [Fact]
    public async Task What_can_be_seen_of_a_guest_is_told_and_stays_so_when_it_is_saved()
    {
        await using var daemon = new DaemonFixture();
        Assert.Equal((0, "seen\n", ""), daemon.Doppel(["create", "--name", "seen", "--kernel", daemon.Kernel, "--memory", "16M", "--engine", "interpreter", "--net", "none"]));
        await using IAsyncEnumerator<MachineEvent> events = await EventsAsync(daemon);
        MachineView view = await daemon.Client.DoAsync("seen", "start", default);
        Assert.Null(view.Readiness!.Booted);
        using (ControlClient client = await ControlClient.ConnectAsync(view.Socket!))
        {
            Stream console = await client.AttachConsoleAsync();
            // It sends each plus one: a prompt.
            await console.WriteAsync("\"\u001f"u8.ToArray());
            await WaitAsync(events, "seen", "booted");
            await WaitAsync(events, "seen", "set-up");
        }

        view = await daemon.Client.GetAsync("seen", default);
        Assert.NotNull(view.Readiness!.Booted);
        Assert.NotNull(view.Readiness.SetUp);
        Assert.Null(view.Readiness.NetworkUp);
        Assert.Matches(@"\nseen +running +yes +- +done ", daemon.Doppel(["ps"]).Output);
        _ = await daemon.Client.SuspendAsync("seen", new SuspendRequest(), null, default);
        Assert.Null((await daemon.Client.GetAsync("seen", default)).Readiness);
        view = await daemon.Client.DoAsync("seen", "start", default);
        Assert.NotNull(view.Readiness!.Booted);
    }

    [Fact]
    public async Task A_worker_that_was_started_ahead_takes_over_a_machine()
    {
        await using var daemon = new DaemonFixture("--spares", "1");
        if (!Doppel.Host.Confinement.Landlock.CanConfineProcess)
            return;
        await daemon.WaitForSparesAsync(1);
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("soon") }, default);
        MachineView soon = await daemon.Client.DoAsync("soon", "start", default);
        Assert.Contains("--spare", File.ReadAllText($"/proc/{soon.ProcessId}/cmdline"), StringComparison.Ordinal);
        Assert.Equal('b', await daemon.EchoAsync("soon", 'a'));
        _ = await daemon.Client.SnapshotAsync("soon", new SnapshotRequest { Name = "s" }, default);
        _ = await daemon.Client.DoAsync("soon", "kill", default);
        await daemon.WaitForSparesAsync(1);
        soon = await daemon.Client.DoAsync("soon", "snapshots/s/restore", default);
        Assert.Contains("--spare", File.ReadAllText($"/proc/{soon.ProcessId}/cmdline"), StringComparison.Ordinal);
        Assert.Equal('b', await daemon.EchoAsync("soon", 'a'));
        _ = await daemon.Client.DoAsync("soon", "kill", default);
        await daemon.WaitForSparesAsync(1);
        // One that is gone is no loss, and one that waits goes with its daemon.
        using (var spare = Process.GetProcessById(Assert.Single(SparesOf(daemon.Daemon.Id))))
        {
            spare.Kill();
            await spare.WaitForExitAsync();
        }

        soon = await daemon.Client.DoAsync("soon", "start", default);
        Assert.DoesNotContain("--spare", File.ReadAllText($"/proc/{soon.ProcessId}/cmdline"), StringComparison.Ordinal);
        await daemon.WaitForSparesAsync(1);
        int last = Assert.Single(SparesOf(daemon.Daemon.Id));
        daemon.Daemon.Kill();
        using (var process = Process.GetProcessById(last))
            await process.WaitForExitAsync();
        Assert.Equal('b', await daemon.EchoAsync("soon", 'a', soon.Socket));
    }

    private static int[] SparesOf(int daemon) => [.. Directory.GetDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, System.Globalization.CultureInfo.InvariantCulture)).Where(process => IsSpareOf(daemon, process))];

    private static bool IsSpareOf(int daemon, int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline").Contains("--spare\0", StringComparison.Ordinal) && File.ReadAllText($"/proc/{process}/status").Contains($"PPid:\t{daemon}\n", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    [Fact]
    public async Task A_machine_whose_process_is_killed_starts_again_by_its_policy_and_one_that_is_stopped_does_not()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one"), Restart = RestartPolicy.OnFailure }, default);
        MachineView first = await daemon.Client.DoAsync("one", "start", default);
        await using IAsyncEnumerator<MachineEvent> events = await EventsAsync(daemon);
        using (var worker = Process.GetProcessById(first.ProcessId!.Value))
            worker.Kill();
        await WaitAsync(events, "one", "exited");
        await WaitAsync(events, "one", "restarting");
        await WaitAsync(events, "one", "started");
        MachineView second = await daemon.Client.GetAsync("one", default);
        Assert.NotEqual(first.ProcessId, second.ProcessId);
        Assert.Equal('b', await daemon.EchoAsync("one", 'a'));
        Assert.Equal(MachineState.Exited, (await daemon.Client.DoAsync("one", "kill", default)).State);
        await WaitAsync(events, "one", "exited");
        Assert.Equal(MachineState.Exited, (await daemon.Client.GetAsync("one", default)).State);
    }

    [Fact]
    public async Task A_machine_that_is_to_be_removed_goes_with_its_end()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("gone"), AutoRemove = true }, default);
        MachineView view = await daemon.Client.DoAsync("gone", "start", default);
        await using IAsyncEnumerator<MachineEvent> events = await EventsAsync(daemon);
        using (ControlClient client = await ControlClient.ConnectAsync(view.Socket!))
            await (await client.AttachConsoleAsync()).WriteAsync("q"u8.ToArray());
        await WaitAsync(events, "gone", "removed");
        Assert.Empty(await daemon.Client.ListAsync(default));
        Assert.False(Directory.Exists(daemon.Folder("gone").Path));
    }

    [Fact]
    public async Task A_machine_that_can_not_start_says_why()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("bad") with { Kernel = "/nonexistent/kernel" } }, default);
        ApiException error = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("bad", "start", default));
        Assert.Equal(409, error.Status);
        Assert.Contains("/nonexistent/kernel", error.Message, StringComparison.Ordinal);
        error = await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("worse") with { Cpus = 65 } }, default));
        Assert.Equal(400, error.Status);
        Assert.Contains("65", error.Message, StringComparison.Ordinal);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("../x") }, default))).Status);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.DoAsync("bad", "stop?timeout=x", default))).Status);
        Assert.Equal(400, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.RenameAsync("bad", "../y", default))).Status);
    }

    [Fact]
    public async Task There_is_one_daemon_for_a_state_directory_and_its_socket_is_the_users_alone()
    {
        await using var daemon = new DaemonFixture();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(daemon.Location.Socket));
        var info = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "doppeld")) { RedirectStandardError = true };
        info.Environment["XDG_RUNTIME_DIR"] = Path.GetDirectoryName(daemon.Location.Runtime.Path);
        info.Environment["XDG_STATE_HOME"] = Path.GetDirectoryName(daemon.Location.State.Path);
        using Process second = Process.Start(info)!;
        Assert.Contains("another daemon", await second.StandardError.ReadToEndAsync(), StringComparison.Ordinal);
        await second.WaitForExitAsync();
        Assert.Equal(6, second.ExitCode);
        Assert.Equal(daemon.Daemon.Id, (await daemon.Client.GetDaemonAsync(default)).ProcessId);
    }

    [Fact]
    public async Task The_description_has_the_calls_that_there_are_and_no_wrong_request_is_a_fault_of_the_daemon()
    {
        await using var daemon = new DaemonFixture();
        using HttpClient http = Http(daemon.Location.Socket);
        JsonElement description = JsonDocument.Parse(await http.GetStringAsync("v1/openapi.json")).RootElement;
        await using var machines = new MachineRegistry(daemon.Location, "none");
        string[] described = [.. description.GetProperty("paths").EnumerateObject().SelectMany(path => path.Value.EnumerateObject().Select(call => $"{call.Name.ToUpperInvariant()} {path.Name}")).Order()];
        Assert.Equal(new DaemonServer(machines, "/nonexistent").Routes.Order(), described);
        foreach (string call in described.Where(call => !call.EndsWith("/events", StringComparison.Ordinal) && !call.EndsWith("/stop", StringComparison.Ordinal)))
        {
            foreach (string body in new[] { "", "{", "[]", "null", "{\"spec\":null}", "{\"spec\":{}}", "{\"spec\":{\"kernel\":\"\"}}", "{\"spec\":{\"kernel\":1}}", "{\"name\":7}", "{\"name\":\"\"}", "{\"x\":1}" })
            {
                string[] parts = call.Split(' ');
                using var request = new HttpRequestMessage(new HttpMethod(parts[0]), parts[1].Replace("{name}", "%2e%2e%2f\u00e9").Replace("{snapshot}", "%00").Replace("{id}", "0"));
                if (parts[0] != "GET")
                    request.Content = new StringContent(body, Encoding.UTF8, "application/json");
                using HttpResponseMessage response = await http.SendAsync(request);
                Assert.True((int)response.StatusCode < 500, $"{call} {body}: {response.StatusCode} {await response.Content.ReadAsStringAsync()}");
            }
        }

        using HttpResponseMessage none = await http.GetAsync("v1/nothing");
        Assert.Equal(HttpStatusCode.NotFound, none.StatusCode);
        Assert.Contains("openapi.json", await none.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.False(daemon.Daemon.HasExited);
    }

    [Fact]
    public void The_schema_has_the_fields_that_there_are()
    {
        using Stream stream = typeof(DaemonServer).Assembly.GetManifestResourceStream("openapi.json")!;
        JsonElement schemas = JsonDocument.Parse(stream).RootElement.GetProperty("components").GetProperty("schemas");
        foreach (Type type in new[] { typeof(MachineSpec), typeof(CreateRequest), typeof(UpdateRequest), typeof(RenameRequest), typeof(SnapshotRequest), typeof(CloneRequest), typeof(SuspendRequest), typeof(Operation), typeof(OperationProgress), typeof(MachineView), typeof(ExitRecord), typeof(MachineEvent), typeof(SnapshotReport), typeof(MigrateRequest), typeof(MigrationProgress), typeof(MigrationAddress), typeof(ArrivalRequest), typeof(ArrivalOutcome), typeof(DaemonView), typeof(ApiError) })
        {
            string[] fields = [.. type.GetProperties(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Instance).Where(p => p.GetCustomAttributes(typeof(System.Text.Json.Serialization.JsonIgnoreAttribute), false).Length == 0).Select(p => JsonNamingPolicy.CamelCase.ConvertName(p.Name)).Order()];
            Assert.Equal(fields, schemas.GetProperty(type.Name).GetProperty("properties").EnumerateObject().Select(p => p.Name).Order());
        }
    }

    [Fact]
    public void The_published_schema_of_a_machine_is_that_of_the_api()
    {
        using Stream api = typeof(DaemonServer).Assembly.GetManifestResourceStream("openapi.json")!;
        using Stream published = typeof(DaemonTests).Assembly.GetManifestResourceStream("machine.schema.json")!;
        Assert.True(JsonElement.DeepEquals(
            JsonDocument.Parse(api).RootElement.GetProperty("components").GetProperty("schemas").GetProperty(nameof(MachineSpec)),
            JsonDocument.Parse(published).RootElement.GetProperty("$defs").GetProperty(nameof(MachineSpec))));
    }

    [Fact]
    public async Task The_command_does_all_of_this()
    {
        await using var daemon = new DaemonFixture();
        string[] run = ["run", "--detach", "--name", "web", "--kernel", daemon.Kernel, "--memory", "16M", "--restart", "on-failure"];
        Assert.Equal((0, "web\n", ""), daemon.Doppel(run));
        Assert.Equal(2, daemon.Doppel(run).Code);
        Assert.Contains("running", daemon.Doppel(["ps"]).Output, StringComparison.Ordinal);
        Assert.Equal("web", JsonDocument.Parse(daemon.Doppel(["ps", "--json"]).Output).RootElement[0].GetProperty("name").GetString());
        Assert.Equal('b', await daemon.EchoAsync("web", 'a'));
        Assert.Equal((0, "b", ""), daemon.Doppel(["logs", "web"]));
        Assert.Contains(", 16 MiB, running", daemon.Doppel(["stats", "web"]).Output, StringComparison.Ordinal);
        Assert.Equal(0, daemon.Doppel(["suspend", "web"]).Code);
        Assert.Contains("suspended", daemon.Doppel(["ps", "--all"]).Output, StringComparison.Ordinal);
        Assert.Equal(0, daemon.Doppel(["resume", "web"]).Code);
        Assert.Equal('d', await daemon.EchoAsync("web", 'c'));
        Assert.Equal(0, daemon.Doppel(["clone", "web", "copy"]).Code);
        Assert.Equal(0, daemon.Doppel(["start", "copy"]).Code);
        Assert.Equal('f', await daemon.EchoAsync("copy", 'e'));
        Assert.Equal(0, daemon.Doppel(["kill", "copy"]).Code);
        Assert.Contains("exited (0)", daemon.Doppel(["ps", "-a"]).Output, StringComparison.Ordinal);
        Assert.Equal(0, daemon.Doppel(["rename", "copy", "old"]).Code);
        Assert.Equal("Exited", JsonDocument.Parse(daemon.Doppel(["inspect", "old"]).Output).RootElement.GetProperty("state").GetString());
        Assert.Equal(0, daemon.Doppel(["restart", "web", "--time", "0"]).Code);
        Assert.Equal(0, daemon.Doppel(["rm", "--force", "web"]).Code);
        Assert.Equal(18, daemon.Doppel(["inspect", "web"]).Code);
        Assert.Equal(18, daemon.Doppel(["console", "web"]).Code);
        Assert.Contains("running, process", daemon.Doppel(["daemon", "status"]).Output, StringComparison.Ordinal);
        Assert.Equal(2, daemon.Doppel([.. run, "--serial", "pty"]).Code);
        Assert.Equal(2, daemon.Doppel(["run", "--kernel", daemon.Kernel, "--rm"]).Code);

        string file = Path.Combine(Path.GetDirectoryName(daemon.Kernel)!, "m.json");
        File.WriteAllText(file, "{ \"spec\": { \"name\": \"described\", \"kernel\": \"kernel\",\n \"memory\": 16777216 } }");
        Assert.Equal((0, "described\n", ""), daemon.Doppel(["create", "-f", file]));
        Assert.Equal(0, daemon.Doppel(["start", "described"]).Code);
        string yaml = Path.ChangeExtension(file, ".yaml");
        File.WriteAllText(yaml, "# a machine\nspec:\n  name: described-too\n  kernel: kernel\n  memory: 16777216\n  commandLine: \"true\"\nrestart: OnFailure\n");
        Assert.Equal((0, "described-too\n", ""), daemon.Doppel(["create", "-f", yaml]));
        MachineView described = await daemon.Client.GetAsync("described-too", default);
        Assert.Equal((daemon.Kernel, "true", RestartPolicy.OnFailure), (described.Spec.Kernel, described.Spec.CommandLine, described.Restart));
        foreach ((string text, string said) in new[]
        {
            ("spec:\n  name: x\n  kernel: kernel\n  cpus: many\n", "m.yaml: line 4: $.spec.cpus"),
            ("spec:\n  kernel: kernel\n  disks:\n  - path: a\n  - path: [b]\n", "m.yaml: line 5: $.spec.disks[1].path"),
            ("spec:\n  kernel: kernel\n  colour: red\n", "m.yaml: line 3: $.spec.colour"),
            ("spec:\n  kernel: kernel\n  kernel: other\n", "m.yaml: line 3: $.spec.kernel: the field is there twice"),
            ("spec:\n  kernel: &k kernel\n  initrd: *k\n", "m.yaml: line 2: anchors"),
            ("spec:\n  kernel: \"kernel\n", "m.yaml: line "),
            ("- 1\n", "m.yaml: line 1"),
            ("", "m.yaml:"),
        })
        {
            File.WriteAllText(yaml, text);
            (int wrong, _, string why) = daemon.Doppel(["create", "-f", yaml]);
            Assert.Equal(2, wrong);
            Assert.Contains(said, why, StringComparison.Ordinal);
            _ = Assert.Single(why.TrimEnd('\n').Split('\n'));
        }

        File.WriteAllText(file, "{ \"spec\": { \"name\": \"described\",\n \"kernel\": \"kernel\",\n \"cpus\": \"many\" } }");
        (int code, _, string errors) = daemon.Doppel(["create", "-f", file]);
        Assert.Equal(2, code);
        Assert.Contains("m.json: line 3: $.spec.cpus", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_first_command_starts_the_daemon_and_many_at_once_start_one()
    {
        await using var daemon = new DaemonFixture();
        await daemon.Client.StopDaemonAsync(default);
        await daemon.Daemon.WaitForExitAsync();
        Assert.Equal("not running\n", daemon.Doppel(["daemon", "status"]).Output);
        (int Code, string Output, string Errors)[] results = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => daemon.Doppel(["ps", "--json"]))));
        Assert.All(results, result => Assert.Equal((0, "[]\n", ""), result));
        DaemonView view = await daemon.Client.GetDaemonAsync(default);
        Assert.NotEqual(daemon.Daemon.Id, view.ProcessId);
        Assert.Equal(0, daemon.Doppel(["daemon", "stop"]).Code);
        // It is held as long as the daemon runs.
        FileLock.Take(daemon.Location.LockPath).Dispose();
    }

    private static HttpClient Http(string socket) => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancel) =>
        {
            var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancel);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://doppel/") };

    private static async Task<IAsyncEnumerator<MachineEvent>> EventsAsync(DaemonFixture daemon)
    {
        var connected = new TaskCompletionSource();
        IAsyncEnumerator<MachineEvent> events = daemon.Client.ReadEventsAsync(connected.SetResult, default).GetAsyncEnumerator();
        Task<bool> first = events.MoveNextAsync().AsTask();
        await connected.Task.WaitAsync(Patience);
        return new Prefetched(events, first);
    }

    private static async Task WaitAsync(IAsyncEnumerator<MachineEvent> events, string machine, string what)
    {
        do
            Assert.True(await events.MoveNextAsync().AsTask().WaitAsync(Patience));
        while ((events.Current.Machine, events.Current.Event) != (machine, what));
    }

    /// <summary>An enumerator whose first step is under way.</summary>
    private sealed class Prefetched(IAsyncEnumerator<MachineEvent> events, Task<bool>? first) : IAsyncEnumerator<MachineEvent>
    {
        private Task<bool>? _first = first;

        public MachineEvent Current => events.Current;

        public async ValueTask<bool> MoveNextAsync()
        {
            if (_first is not Task<bool> pending)
                return await events.MoveNextAsync();
            _first = null;
            return await pending;
        }

        // The stream ends with the client.
        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
