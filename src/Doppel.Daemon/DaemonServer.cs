using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using static Doppel.Daemon.HttpExchange;

namespace Doppel.Daemon;

/// <summary>The REST API: docs/openapi.json describes it, and a test compares the two.</summary>
internal sealed class DaemonServer
{
    private const long LargestRequest = 1 << 20;
    private readonly MachineRegistry _machines;
    private readonly OperationRegistry _operations;
    private readonly TlsEndpoint? _remote;
    private readonly WebApplication _app;

    /// <summary>Makes the server.</summary>
    /// <param name="machines">The machines.</param>
    /// <param name="socket">The path of its socket.</param>
    /// <param name="remote">Where it listens for other hosts; null for nowhere.</param>
    internal DaemonServer(MachineRegistry machines, string socket, TlsEndpoint? remote = null)
    {
        _machines = machines;
        _operations = new OperationRegistry(machines.Events, Describe);
        _remote = remote;
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        _ = builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.ListenUnixSocket(socket);
            remote?.Listen(options);
            options.Limits.MaxRequestBodySize = LargestRequest;
            options.AddServerHeader = false;
        });
        if (remote is not null)
            _ = builder.WebHost.UseKestrelHttpsConfiguration();
        _ = builder.Services.AddRoutingCore();
        _ = builder.Logging.ClearProviders();
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(2));
        _app = builder.Build();
        _ = _app.Use(GuardAsync);
        _ = _app.UseWebSockets();
        _ = _app.UseRouting();
        Map();
        // What an earlier daemon has begun can be followed and cancelled here.
        foreach (ManagedMachine machine in machines.List().Where(machine => machine.IsMoving))
            _ = _operations.Begin("migrate", machine.Name, async o => JsonSerializer.SerializeToElement(await machine.FollowMigrationAsync(o).ConfigureAwait(false), ApiJson.Default.MigrationProgress));
    }

    /// <summary>The routes, as METHOD PATH.</summary>
    internal IEnumerable<string> Routes => ((IEndpointRouteBuilder)_app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>()
        .Select(endpoint => $"{endpoint.Metadata.GetMetadata<IHttpMethodMetadata>()!.HttpMethods[0]} {endpoint.RoutePattern.RawText}");

    /// <summary>Listens. The socket is its user's alone.</summary>
    internal Task StartAsync() => _app.StartAsync();

    /// <summary>Waits until it is stopped, by a signal or a request.</summary>
    internal Task WaitAsync() => _app.WaitForShutdownAsync();

    internal Task StopAsync() => _app.StopAsync();

    private static (int Status, string Error) Describe(Exception exception) => (
        exception switch
        {
            ApiException api => api.Status,
            SpecException or BadHttpRequestException => 400,
            SnapshotException or BootException or DiskImageException => 409,
            _ => 500,
        },
        exception.Message);

    private async Task GuardAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            // A peer without an address came through the socket, which only its user can open.
            if (context.Connection.RemoteIpAddress is not null && _remote?.Admits(context.Request) != true)
                throw new ApiException(401, "the token is missing or wrong; the header \"Authorization: Bearer TOKEN\" with what is in the daemon's token file would be right");
            await next(context).ConfigureAwait(false);
            if (context.Response is { HasStarted: false, StatusCode: 404 or 405, ContentType: null })
                await WriteAsync(context, new ApiError($"{context.Request.Method} {context.Request.Path}: there is no such call; /v1/openapi.json lists them"), ApiJson.Default.ApiError, context.Response.StatusCode).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody waits for an answer.
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            (int status, string error) = Describe(e);
            await WriteAsync(context, new ApiError(error), ApiJson.Default.ApiError, status).ConfigureAwait(false);
        }
    }

    private void Map()
    {
        _ = _app.MapGet("/v1/openapi.json", GetDescriptionAsync);
        _ = _app.MapGet("/v1/daemon", c => WriteAsync(c, new DaemonView(typeof(DaemonServer).Assembly.GetName().Version!.ToString(3), Environment.ProcessId, _machines.Spares), ApiJson.Default.DaemonView));
        _ = _app.MapPost("/v1/daemon/stop", StopDaemonAsync);
        _ = _app.MapGet("/v1/events", SendEventsAsync);
        _ = _app.MapGet("/v1/operations", c => WriteAsync(c, _operations.List(), ApiJson.Default.IReadOnlyListOperation));
        _ = _app.MapGet("/v1/operations/{id}", c => WriteAsync(c, _operations.Find(OperationId(c)).Now, ApiJson.Default.Operation));
        _ = _app.MapDelete("/v1/operations/{id}", CancelOperationAsync);
        _ = _app.MapGet("/v1/operations/{id}/events", SendOperationAsync);
        _ = _app.MapGet("/v1/machines", ListAsync);
        _ = _app.MapPost("/v1/machines", async c => await ShowAsync(c, _machines.Create(await ReadCreateAsync(c).ConfigureAwait(false)), 201).ConfigureAwait(false));
        _ = _app.MapGet("/v1/machines/{name}", c => ShowAsync(c, _machines.Find(Name(c))));
        _ = _app.MapPatch("/v1/machines/{name}", c => DoAsync(c, async m => await m.UpdateAsync(await ReadAsync(c, ApiJson.Default.UpdateRequest).ConfigureAwait(false), c.RequestAborted).ConfigureAwait(false)));
        _ = _app.MapDelete("/v1/machines/{name}", RemoveAsync);
        _ = _app.MapPost("/v1/machines/{name}/start", c => BeginAsync(c, "start", (m, o) => m.StartAsync(o.Cancel)));
        _ = _app.MapPost("/v1/machines/{name}/stop", c => BeginAsync(c, "stop", Timeout(c), (m, o, time) => m.StopAsync(time, o.Cancel)));
        _ = _app.MapPost("/v1/machines/{name}/kill", c => DoAsync(c, m => m.KillAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/restart", c => BeginAsync(c, "restart", Timeout(c), (m, o, time) => m.RestartAsync(time, o.Cancel)));
        _ = _app.MapPost("/v1/machines/{name}/pause", c => DoAsync(c, m => m.PauseAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/resume", c => BeginAsync(c, "resume", (m, o) => m.ResumeAsync(o.Cancel)));
        _ = _app.MapPost("/v1/machines/{name}/suspend", SuspendAsync);
        _ = _app.MapPost("/v1/machines/{name}/clone", CloneAsync);
        _ = _app.MapPost("/v1/machines/{name}/migrate", MigrateAsync);
        _ = _app.MapPost("/v1/arrivals", PrepareArrivalAsync);
        _ = _app.MapPost("/v1/arrivals/{id}/resolve", ResolveArrivalAsync);
        _ = _app.MapPost("/v1/machines/{name}/rename", RenameAsync);
        _ = _app.MapGet("/v1/machines/{name}/logs", SendLogsAsync);
        _ = _app.MapGet("/v1/machines/{name}/console", JoinConsoleAsync);
        _ = _app.MapGet("/v1/machines/{name}/stats", async c => await WriteAsync(c, await _machines.Find(Name(c)).GetStatisticsAsync(c.RequestAborted).ConfigureAwait(false), ApiJson.Default.MachineStatistics).ConfigureAwait(false));
        _ = _app.MapGet("/v1/machines/{name}/balloon", async c => await WriteAsync(c, await _machines.Find(Name(c)).GetBalloonAsync(c.RequestAborted).ConfigureAwait(false), ApiJson.Default.BalloonReport).ConfigureAwait(false));
        _ = _app.MapGet("/v1/machines/{name}/screenshot", SendScreenAsync);
        _ = _app.MapPost("/v1/machines/{name}/input", SendInputAsync);
        _ = _app.MapGet("/v1/machines/{name}/snapshots", c => WriteAsync(c, _machines.Find(Name(c)).ListSnapshots(), ApiJson.Default.IReadOnlyListSnapshotManifest));
        _ = _app.MapPost("/v1/machines/{name}/snapshots", MakeSnapshotAsync);
        _ = _app.MapGet("/v1/machines/{name}/snapshots/{snapshot}", c => WriteAsync(c, _machines.Find(Name(c)).GetSnapshot(Snapshot(c)), ApiJson.Default.SnapshotManifest));
        _ = _app.MapPost("/v1/machines/{name}/snapshots/{snapshot}/restore", c => BeginAsync(c, "restore", Snapshot(c), (m, o, snapshot) => m.RestoreAsync(snapshot, o)));
        _ = _app.MapPost("/v1/machines/{name}/snapshots/{snapshot}/check", c => BeginAsync(c, "check", Snapshot(c), (m, o, snapshot) => m.CheckSnapshotAsync(snapshot, o)));
        _ = _app.MapDelete("/v1/machines/{name}/snapshots/{snapshot}", RemoveSnapshotAsync);
    }

    private async Task DoAsync(HttpContext context, Func<ManagedMachine, Task> action)
    {
        ManagedMachine machine = _machines.Find(Name(context));
        await action(machine).ConfigureAwait(false);
        await ShowAsync(context, machine).ConfigureAwait(false);
    }

    // What takes its time goes on by itself: the answer is the operation, which the caller follows.
    private Task BeginAsync(HttpContext context, string kind, Func<ManagedMachine, OperationTask, Task> action) =>
        BeginAsync(context, kind, 0, (machine, operation, _) => action(machine, operation));

    private Task BeginAsync<TArgument>(HttpContext context, string kind, TArgument argument, Func<ManagedMachine, OperationTask, TArgument, Task> action) => BeginAsync(
        context,
        kind,
        ApiJson.Default.MachineView,
        async (machine, operation) =>
        {
            await action(machine, operation, argument).ConfigureAwait(false);
            return await machine.ViewAsync(CancellationToken.None).ConfigureAwait(false);
        });

    private async Task BeginAsync<TResult>(HttpContext context, string kind, JsonTypeInfo<TResult> type, Func<ManagedMachine, OperationTask, Task<TResult>> action)
    {
        ManagedMachine machine = _machines.Find(Name(context));
        OperationTask operation = _operations.Begin(kind, machine.Name, async o => JsonSerializer.SerializeToElement(await action(machine, o).ConfigureAwait(false), type));
        context.Response.Headers.Location = $"/v1/operations/{operation.Now.Id}";
        await WriteAsync(context, operation.Now, ApiJson.Default.Operation, 202).ConfigureAwait(false);
    }

    private static async Task ShowAsync(HttpContext context, ManagedMachine machine, int status = 200) =>
        await WriteAsync(context, await machine.ViewAsync(context.RequestAborted).ConfigureAwait(false), ApiJson.Default.MachineView, status).ConfigureAwait(false);

    private async Task ListAsync(HttpContext context)
    {
        // One that is slow to answer holds up no other.
        MachineView?[] views = await Task.WhenAll(_machines.List().Select(async machine =>
        {
            try
            {
                return await machine.ViewAsync(context.RequestAborted).ConfigureAwait(false);
            }
            catch (ApiException e) when (e.Status == 404)
            {
                // Removed meanwhile.
                return null;
            }
        })).ConfigureAwait(false);
        await WriteAsync(context, [.. views.OfType<MachineView>()], ApiJson.Default.IReadOnlyListMachineView).ConfigureAwait(false);
    }

    private async Task RemoveAsync(HttpContext context)
    {
        await _machines.Find(Name(context)).RemoveAsync(Flag(context, "force"), context.RequestAborted).ConfigureAwait(false);
        context.Response.StatusCode = 204;
    }

    private async Task SendScreenAsync(HttpContext context)
    {
        bool isText = Flag(context, "text");
        ScreenReport screen = await _machines.Find(Name(context)).TakePictureAsync(context.RequestAborted).ConfigureAwait(false);
        if (!isText)
        {
            context.Response.ContentType = "image/png";
            await context.Response.Body.WriteAsync(screen.Png, context.RequestAborted).ConfigureAwait(false);
            return;
        }

        if (screen.Text is null)
            throw new ApiException(409, $"the screen shows graphics, {screen.Width} by {screen.Height} pixels; text=false would be right");
        context.Response.ContentType = "text/plain; charset=utf-8";
        await context.Response.WriteAsync(string.Concat(screen.Text.Select(line => line + "\n")), context.RequestAborted).ConfigureAwait(false);
    }

    private async Task SendInputAsync(HttpContext context)
    {
        InputRequest input = await ReadAsync(context, ApiJson.Default.InputRequest).ConfigureAwait(false);
        await _machines.Find(Name(context)).SendInputAsync(input, context.RequestAborted).ConfigureAwait(false);
        context.Response.StatusCode = 204;
    }

    private async Task RenameAsync(HttpContext context)
    {
        RenameRequest request = await ReadAsync(context, ApiJson.Default.RenameRequest).ConfigureAwait(false);
        await _machines.RenameAsync(Name(context), request.Name ?? "", context.RequestAborted).ConfigureAwait(false);
        await ShowAsync(context, _machines.Find(request.Name!)).ConfigureAwait(false);
    }

    private async Task SuspendAsync(HttpContext context)
    {
        SuspendRequest request = await ReadOrAsync(context, ApiJson.Default.SuspendRequest, new SuspendRequest()).ConfigureAwait(false);
        await BeginAsync(context, "suspend", request.Description, (m, o, description) => m.SuspendAsync(description, o)).ConfigureAwait(false);
    }

    private async Task CloneAsync(HttpContext context)
    {
        CloneRequest request = await ReadAsync(context, ApiJson.Default.CloneRequest).ConfigureAwait(false);
        if (!MachineSpecValidation.IsName(request.Name ?? ""))
            throw new ApiException(400, $"name \"{request.Name}\": 1 to {MachineSpec.MaximumName} letters, digits, dots, dashes and underscores, not only digits, would be right");
        await BeginAsync(
            context,
            "clone",
            ApiJson.Default.MachineView,
            async (machine, operation) =>
            {
                await machine.CloneAsync(request, operation).ConfigureAwait(false);
                return await _machines.Find(request.Name!).ViewAsync(CancellationToken.None).ConfigureAwait(false);
            }).ConfigureAwait(false);
    }

    private async Task MigrateAsync(HttpContext context)
    {
        MigrateRequest request = await ReadAsync(context, ApiJson.Default.MigrateRequest).ConfigureAwait(false);
        ManagedMachine.Check(request);
        await BeginAsync(context, "migrate", ApiJson.Default.MigrationProgress, (machine, operation) => machine.MigrateAsync(request, operation)).ConfigureAwait(false);
    }

    private async Task PrepareArrivalAsync(HttpContext context)
    {
        ArrivalRequest request = await ReadArrivalAsync(context).ConfigureAwait(false);
        // Whoever came through the socket is on this host.
        System.Net.IPAddress reached = context.Connection.LocalIpAddress ?? System.Net.IPAddress.Loopback;
        string address = request.Address ?? (reached.IsIPv4MappedToIPv6 ? reached.MapToIPv4() : reached).ToString();
        await WriteAsync(context, await _machines.Arrivals.PrepareAsync(request with { Address = address }).ConfigureAwait(false), ApiJson.Default.MigrationAddress, 201).ConfigureAwait(false);
    }

    private async Task ResolveArrivalAsync(HttpContext context)
    {
        string text = OperationId(context);
        if (!Guid.TryParse(text, out Guid id))
            throw new ApiException(400, $"{text}: the identifier of a migration would be right");
        await WriteAsync(context, new ArrivalOutcome(await _machines.Arrivals.ResolveAsync(id, context.RequestAborted).ConfigureAwait(false)), ApiJson.Default.ArrivalOutcome).ConfigureAwait(false);
    }

    private async Task MakeSnapshotAsync(HttpContext context)
    {
        SnapshotRequest request = await ReadAsync(context, ApiJson.Default.SnapshotRequest).ConfigureAwait(false);
        await BeginAsync(context, "snapshot", ApiJson.Default.SnapshotReport, (machine, operation) => machine.SnapshotAsync(request, operation)).ConfigureAwait(false);
    }

    private async Task RemoveSnapshotAsync(HttpContext context)
    {
        IReadOnlyList<string> removed = await _machines.Find(Name(context)).RemoveSnapshotAsync(Snapshot(context), Flag(context, "recursive"), context.RequestAborted).ConfigureAwait(false);
        await WriteAsync(context, removed, ApiJson.Default.IReadOnlyListString).ConfigureAwait(false);
    }

    private async Task CancelOperationAsync(HttpContext context)
    {
        OperationTask operation = _operations.Find(OperationId(context));
        operation.RequestCancel();
        await WriteAsync(context, operation.Now, ApiJson.Default.Operation, 202).ConfigureAwait(false);
    }

    private async Task SendOperationAsync(HttpContext context)
    {
        OperationTask operation = _operations.Find(OperationId(context));
        Channel<Operation> changes = operation.Follow();
        await HttpExchange.SendEventsAsync(context, changes.Reader, ApiJson.Compact.Operation, _app.Lifetime.ApplicationStopping).ConfigureAwait(false);
        operation.Leave(changes);
    }

    private async Task SendLogsAsync(HttpContext context)
    {
        bool follows = Flag(context, "follow");
        context.Response.ContentType = "application/octet-stream";
        using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _app.Lifetime.ApplicationStopping);
        try
        {
            await ConsoleLog.SendAsync(_machines.Find(Name(context)), context.Response.Body, follows, end.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (follows)
        {
            // Nobody reads any more, or the daemon ends.
        }
    }

    private async Task JoinConsoleAsync(HttpContext context)
    {
        ManagedMachine machine = _machines.Find(Name(context));
        if (!context.WebSockets.IsWebSocketRequest)
            throw new ApiException(400, "the console is a WebSocket; a request with \"Upgrade: websocket\" would be right");
        // A page of some other site that a user's browser has open could else type on their machines.
        if (context.Request.Headers.Origin.ToString() is { Length: > 0 } origin && (!Uri.TryCreate(origin, UriKind.Absolute, out Uri? page) || page.Authority != context.Request.Host.Value))
            throw new ApiException(403, $"the console is not for pages of {origin}");
        using ControlClient client = await machine.ConnectAsync(context.RequestAborted).ConfigureAwait(false);
        Stream console = await machine.AttachAsync(client, context.RequestAborted).ConfigureAwait(false);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _app.Lifetime.ApplicationStopping);
        using System.Net.WebSockets.WebSocket socket = await context.WebSockets.AcceptWebSocketAsync().ConfigureAwait(false);
        await ConsoleBridge.RunAsync(socket, console, end.Token).ConfigureAwait(false);
    }

    private async Task SendEventsAsync(HttpContext context)
    {
        Channel<MachineEvent> events = _machines.Events.Join();
        await HttpExchange.SendEventsAsync(context, events.Reader, ApiJson.Compact.MachineEvent, _app.Lifetime.ApplicationStopping).ConfigureAwait(false);
        _machines.Events.Leave(events);
    }

    private async Task StopDaemonAsync(HttpContext context)
    {
        context.Response.StatusCode = 204;
        await context.Response.CompleteAsync().ConfigureAwait(false);
        _app.Lifetime.StopApplication();
    }

    private static async Task GetDescriptionAsync(HttpContext context)
    {
        context.Response.ContentType = "application/json";
        await using Stream description = Assembly.GetExecutingAssembly().GetManifestResourceStream("openapi.json")!;
        await description.CopyToAsync(context.Response.Body, context.RequestAborted).ConfigureAwait(false);
    }
}
