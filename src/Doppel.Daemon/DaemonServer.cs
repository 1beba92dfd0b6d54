using System.Globalization;
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

namespace Doppel.Daemon;

/// <summary>The REST API: docs/openapi.json describes it, and a test compares the two.</summary>
internal sealed class DaemonServer
{
    private const long LargestRequest = 1 << 20;
    private readonly MachineRegistry _machines;
    private readonly WebApplication _app;

    /// <summary>Makes the server.</summary>
    /// <param name="machines">The machines.</param>
    /// <param name="socket">The path of its socket.</param>
    internal DaemonServer(MachineRegistry machines, string socket)
    {
        _machines = machines;
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        _ = builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.ListenUnixSocket(socket);
            options.Limits.MaxRequestBodySize = LargestRequest;
            options.AddServerHeader = false;
        });
        _ = builder.Services.AddRoutingCore();
        _ = builder.Logging.ClearProviders();
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(2));
        _app = builder.Build();
        _ = _app.Use(GuardAsync);
        _ = _app.UseRouting();
        Map();
    }

    /// <summary>The routes, as METHOD PATH.</summary>
    internal IEnumerable<string> Routes => ((IEndpointRouteBuilder)_app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>()
        .Select(endpoint => $"{endpoint.Metadata.GetMetadata<IHttpMethodMetadata>()!.HttpMethods[0]} {endpoint.RoutePattern.RawText}");

    /// <summary>Listens. The socket is its user's alone.</summary>
    internal Task StartAsync() => _app.StartAsync();

    /// <summary>Waits until it is stopped, by a signal or a request.</summary>
    internal Task WaitAsync() => _app.WaitForShutdownAsync();

    internal Task StopAsync() => _app.StopAsync();

    private static string Name(HttpContext context) => (string)context.Request.RouteValues["name"]!;

    private static string Snapshot(HttpContext context) => (string)context.Request.RouteValues["snapshot"]!;

    private static bool Flag(HttpContext context, string name) => context.Request.Query[name].ToString() switch
    {
        "" or "false" => false,
        "true" => true,
        string other => throw new ApiException(400, $"{name}={other}: true or false would be right"),
    };

    private static TimeSpan Timeout(HttpContext context)
    {
        string text = context.Request.Query["timeout"].ToString();
        if (text.Length == 0)
            return TimeSpan.FromSeconds(30);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) && seconds <= 86400
            ? TimeSpan.FromSeconds(seconds)
            : throw new ApiException(400, $"timeout={text}: 0 to 86400 seconds would be right");
    }

    private static async Task<CreateRequest> ReadCreateAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
        try
        {
            return MachineSpecJson.Read(body.GetBuffer().AsSpan(0, (int)body.Length), ApiJson.Default.CreateRequest, "spec") ?? throw new ApiException(400, "the request's body is null; an object would be right");
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the request's body: {e.Message}");
        }
    }

    private static async Task<T> ReadAsync<T>(HttpContext context, JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return await JsonSerializer.DeserializeAsync(context.Request.Body, type, context.RequestAborted).ConfigureAwait(false) ?? throw new ApiException(400, "the request's body is null; an object would be right");
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the request's body: {e.Message}");
        }
    }

    private static Task WriteAsync<T>(HttpContext context, T value, JsonTypeInfo<T> type, int status = 200)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(JsonSerializer.Serialize(value, type) + "\n", context.RequestAborted);
    }

    private async Task GuardAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
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
            int status = e switch
            {
                ApiException api => api.Status,
                SpecException or BadHttpRequestException => 400,
                SnapshotException or BootException or DiskImageException => 409,
                _ => 500,
            };
            await WriteAsync(context, new ApiError(e.Message), ApiJson.Default.ApiError, status).ConfigureAwait(false);
        }
    }

    private void Map()
    {
        _ = _app.MapGet("/v1/openapi.json", GetDescriptionAsync);
        _ = _app.MapGet("/v1/daemon", c => WriteAsync(c, new DaemonView(typeof(DaemonServer).Assembly.GetName().Version!.ToString(3), Environment.ProcessId), ApiJson.Default.DaemonView));
        _ = _app.MapPost("/v1/daemon/stop", StopDaemonAsync);
        _ = _app.MapGet("/v1/events", SendEventsAsync);
        _ = _app.MapGet("/v1/machines", ListAsync);
        _ = _app.MapPost("/v1/machines", async c => await ShowAsync(c, _machines.Create(await ReadCreateAsync(c).ConfigureAwait(false)), 201).ConfigureAwait(false));
        _ = _app.MapGet("/v1/machines/{name}", c => ShowAsync(c, _machines.Find(Name(c))));
        _ = _app.MapPatch("/v1/machines/{name}", c => DoAsync(c, async m => await m.UpdateAsync(await ReadAsync(c, ApiJson.Default.UpdateRequest).ConfigureAwait(false), c.RequestAborted).ConfigureAwait(false)));
        _ = _app.MapDelete("/v1/machines/{name}", RemoveAsync);
        _ = _app.MapPost("/v1/machines/{name}/start", c => DoAsync(c, m => m.StartAsync(null, c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/stop", c => DoAsync(c, m => m.StopAsync(Timeout(c), c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/kill", c => DoAsync(c, m => m.KillAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/restart", c => DoAsync(c, m => m.RestartAsync(Timeout(c), c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/pause", c => DoAsync(c, m => m.PauseAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/resume", c => DoAsync(c, m => m.ResumeAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/suspend", c => DoAsync(c, m => m.SuspendAsync(c.RequestAborted)));
        _ = _app.MapPost("/v1/machines/{name}/rename", RenameAsync);
        _ = _app.MapGet("/v1/machines/{name}/logs", SendLogsAsync);
        _ = _app.MapGet("/v1/machines/{name}/stats", async c => await WriteAsync(c, await _machines.Find(Name(c)).GetStatisticsAsync(c.RequestAborted).ConfigureAwait(false), ApiJson.Default.MachineStatistics).ConfigureAwait(false));
        _ = _app.MapGet("/v1/machines/{name}/snapshots", c => WriteAsync(c, _machines.Find(Name(c)).ListSnapshots(), ApiJson.Default.IReadOnlyListSnapshotManifest));
        _ = _app.MapPost("/v1/machines/{name}/snapshots", MakeSnapshotAsync);
        _ = _app.MapPost("/v1/machines/{name}/snapshots/{snapshot}/restore", c => DoAsync(c, m => m.RestoreAsync(Snapshot(c), c.RequestAborted)));
        _ = _app.MapDelete("/v1/machines/{name}/snapshots/{snapshot}", RemoveSnapshotAsync);
    }

    private async Task DoAsync(HttpContext context, Func<ManagedMachine, Task> action)
    {
        ManagedMachine machine = _machines.Find(Name(context));
        await action(machine).ConfigureAwait(false);
        await ShowAsync(context, machine).ConfigureAwait(false);
    }

    private static async Task ShowAsync(HttpContext context, ManagedMachine machine, int status = 200) =>
        await WriteAsync(context, await machine.ViewAsync(context.RequestAborted).ConfigureAwait(false), ApiJson.Default.MachineView, status).ConfigureAwait(false);

    private async Task ListAsync(HttpContext context)
    {
        var views = new List<MachineView>();
        foreach (ManagedMachine machine in _machines.List())
        {
            try
            {
                views.Add(await machine.ViewAsync(context.RequestAborted).ConfigureAwait(false));
            }
            catch (ApiException e) when (e.Status == 404)
            {
                // Removed meanwhile.
            }
        }

        await WriteAsync(context, views, ApiJson.Default.IReadOnlyListMachineView).ConfigureAwait(false);
    }

    private async Task RemoveAsync(HttpContext context)
    {
        await _machines.Find(Name(context)).RemoveAsync(Flag(context, "force"), context.RequestAborted).ConfigureAwait(false);
        context.Response.StatusCode = 204;
    }

    private async Task RenameAsync(HttpContext context)
    {
        RenameRequest request = await ReadAsync(context, ApiJson.Default.RenameRequest).ConfigureAwait(false);
        await _machines.RenameAsync(Name(context), request.Name ?? "", context.RequestAborted).ConfigureAwait(false);
        await ShowAsync(context, _machines.Find(request.Name!)).ConfigureAwait(false);
    }

    private async Task MakeSnapshotAsync(HttpContext context)
    {
        SnapshotRequest request = await ReadAsync(context, ApiJson.Default.SnapshotRequest).ConfigureAwait(false);
        SnapshotReport made = await _machines.Find(Name(context)).SnapshotAsync(request, context.RequestAborted).ConfigureAwait(false);
        await WriteAsync(context, made, ApiJson.Default.SnapshotReport, 201).ConfigureAwait(false);
    }

    private async Task RemoveSnapshotAsync(HttpContext context)
    {
        IReadOnlyList<string> removed = await _machines.Find(Name(context)).RemoveSnapshotAsync(Snapshot(context), Flag(context, "recursive"), context.RequestAborted).ConfigureAwait(false);
        await WriteAsync(context, removed, ApiJson.Default.IReadOnlyListString).ConfigureAwait(false);
    }

    private async Task SendLogsAsync(HttpContext context)
    {
        string path = _machines.Find(Name(context)).Folder.LogPath;
        context.Response.ContentType = "application/octet-stream";
        if (!File.Exists(path))
            return;
        await using var log = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        await log.CopyToAsync(context.Response.Body, context.RequestAborted).ConfigureAwait(false);
    }

    private async Task SendEventsAsync(HttpContext context)
    {
        Channel<MachineEvent> events = _machines.Events.Join();
        try
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _app.Lifetime.ApplicationStopping);
            context.Response.ContentType = "text/event-stream";
            await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            await foreach (MachineEvent happened in events.Reader.ReadAllAsync(end.Token).ConfigureAwait(false))
            {
                await context.Response.WriteAsync($"data: {JsonSerializer.Serialize(happened, ApiJson.Compact.MachineEvent)}\n\n", end.Token).ConfigureAwait(false);
                await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // Nobody listens any more, or the daemon ends.
        }
        finally
        {
            _machines.Events.Leave(events);
        }
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
