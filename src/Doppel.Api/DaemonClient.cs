using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Api;

/// <summary>Calls the daemon's REST API. Any thread.</summary>
public sealed class DaemonClient : IDisposable
{
    private readonly HttpClient _http;

    private readonly Func<CancellationToken, ValueTask<Stream>> _connect;
    private readonly string? _token;

    /// <summary>Calls the daemon at a socket, which need not listen yet.</summary>
    public DaemonClient(string socket)
        : this(cancel => ConnectAsync(socket, cancel), null)
    {
    }

    /// <summary>Calls a daemon on another host.</summary>
    public DaemonClient(Remote remote)
        : this(cancel => ConnectAsync(remote, cancel), remote?.Token)
    {
        ArgumentNullException.ThrowIfNull(remote);
    }

    private DaemonClient(Func<CancellationToken, ValueTask<Stream>> connect, string? token)
    {
        _connect = connect;
        _token = token;
        // Connections are made, and secured, here, whatever the scheme says.
        _http = new HttpClient(new SocketsHttpHandler { ConnectCallback = (_, cancel) => connect(cancel) }) { BaseAddress = new Uri("http://doppel/v1/"), Timeout = Timeout.InfiniteTimeSpan };
        if (token is not null)
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
    }

    /// <summary>The daemon itself.</summary>
    public Task<DaemonView> GetDaemonAsync(CancellationToken cancel) => SendAsync(HttpMethod.Get, "daemon", null, ApiJson.Default.DaemonView, cancel);

    /// <summary>Ends the daemon; machines go on.</summary>
    public Task StopDaemonAsync(CancellationToken cancel) => SendAsync(HttpMethod.Post, "daemon/stop", null, cancel);

    /// <summary>All machines.</summary>
    public Task<IReadOnlyList<MachineView>> ListAsync(CancellationToken cancel) => SendAsync(HttpMethod.Get, "machines", null, ApiJson.Default.IReadOnlyListMachineView, cancel);

    /// <summary>One machine.</summary>
    public Task<MachineView> GetAsync(string name, CancellationToken cancel) => SendAsync(HttpMethod.Get, Of(name), null, ApiJson.Default.MachineView, cancel);

    /// <summary>Creates a machine.</summary>
    public Task<MachineView> CreateAsync(CreateRequest request, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, "machines", Content(request, ApiJson.Default.CreateRequest), ApiJson.Default.MachineView, cancel);

    /// <summary>Does what has no parameters but a query: start, kill, restart, pause, resume, suspend, stop or snapshots/NAME/restore. Completes when it is done.</summary>
    /// <param name="name">The machine.</param>
    /// <param name="action">What.</param>
    /// <param name="cancel">Cancels it.</param>
    /// <param name="progress">Told how far it is, if it is an operation; null for nobody.</param>
    public Task<MachineView> DoAsync(string name, string action, CancellationToken cancel, Action<Operation>? progress = null) =>
        OperateAsync($"{Of(name)}/{action}", null, ApiJson.Default.MachineView, progress, cancel);

    /// <summary>Saves a machine and ends its process.</summary>
    public Task<MachineView> SuspendAsync(string name, SuspendRequest request, Action<Operation>? progress, CancellationToken cancel) =>
        OperateAsync($"{Of(name)}/suspend", Content(request, ApiJson.Default.SuspendRequest), ApiJson.Default.MachineView, progress, cancel);

    /// <summary>Makes a second machine, suspended, of a snapshot or of a running one.</summary>
    public Task<MachineView> CloneAsync(string name, CloneRequest request, Action<Operation>? progress, CancellationToken cancel) =>
        OperateAsync($"{Of(name)}/clone", Content(request, ApiJson.Default.CloneRequest), ApiJson.Default.MachineView, progress, cancel);

    /// <summary>Begins what takes its time, without waiting for it.</summary>
    /// <param name="path">The call below /v1/.</param>
    /// <param name="cancel">Ends the wait for the daemon's answer.</param>
    public Task<Operation> BeginAsync(string path, CancellationToken cancel) => SendAsync(HttpMethod.Post, path, null, ApiJson.Default.Operation, cancel);

    /// <summary>All operations that the daemon knows of, oldest first.</summary>
    public Task<IReadOnlyList<Operation>> ListOperationsAsync(CancellationToken cancel) => SendAsync(HttpMethod.Get, "operations", null, ApiJson.Default.IReadOnlyListOperation, cancel);

    /// <summary>One operation.</summary>
    public Task<Operation> GetOperationAsync(string id, CancellationToken cancel) => SendAsync(HttpMethod.Get, OfOperation(id), null, ApiJson.Default.Operation, cancel);

    /// <summary>Asks an operation to end.</summary>
    public Task<Operation> CancelOperationAsync(string id, CancellationToken cancel) => SendAsync(HttpMethod.Delete, OfOperation(id), null, ApiJson.Default.Operation, cancel);

    /// <summary>Follows an operation to its end.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="progress">Told of each change, but for those that come too fast.</param>
    /// <param name="cancel">Ends following; the operation goes on.</param>
    /// <returns>The operation as it ended.</returns>
    public async Task<Operation> FollowAsync(string id, Action<Operation>? progress, CancellationToken cancel)
    {
        Operation? last = null;
        await foreach (Operation now in ReadEventsAsync($"{OfOperation(id)}/events", ApiJson.Compact.Operation, null, cancel).ConfigureAwait(false))
        {
            last = now;
            progress?.Invoke(now);
        }

        return last is { State: not OperationState.Running } ? last : throw new IOException("the daemon has ended before the operation did; what a worker does for it goes on");
    }

    /// <summary>Changes a machine.</summary>
    public Task<MachineView> UpdateAsync(string name, UpdateRequest request, CancellationToken cancel) =>
        SendAsync(HttpMethod.Patch, Of(name), Content(request, ApiJson.Default.UpdateRequest), ApiJson.Default.MachineView, cancel);

    /// <summary>Gives a machine another name.</summary>
    public Task<MachineView> RenameAsync(string name, string next, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, $"{Of(name)}/rename", Content(new RenameRequest(next), ApiJson.Default.RenameRequest), ApiJson.Default.MachineView, cancel);

    /// <summary>Removes a machine.</summary>
    public Task RemoveAsync(string name, bool force, CancellationToken cancel) => SendAsync(HttpMethod.Delete, $"{Of(name)}?force={(force ? "true" : "false")}", null, cancel);

    /// <summary>Moves a machine to another daemon. Completes when it runs there; cancelling it lets it stay, as long as that is possible.</summary>
    /// <returns>How it went.</returns>
    /// <exception cref="ApiException">It was not moved, and goes on where it was.</exception>
    public Task<MigrationProgress> MigrateAsync(string name, MigrateRequest request, Action<Operation>? progress, CancellationToken cancel) =>
        OperateAsync($"{Of(name)}/migrate", Content(request, ApiJson.Default.MigrateRequest), ApiJson.Default.MigrationProgress, progress, cancel);

    /// <summary>Prepares this daemon for a machine that another sends.</summary>
    public Task<MigrationAddress> ArriveAsync(ArrivalRequest request, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, "arrivals", Content(request, ApiJson.Default.ArrivalRequest), ApiJson.Default.MigrationAddress, cancel);

    /// <summary>Asks whether a machine has arrived; one that has not never will.</summary>
    public Task<ArrivalOutcome> ResolveArrivalAsync(Guid id, CancellationToken cancel) => SendAsync(HttpMethod.Post, $"arrivals/{id}/resolve", null, ApiJson.Default.ArrivalOutcome, cancel);

    /// <summary>A machine's console output: what there is, or with <paramref name="follows"/> until its run ends.</summary>
    public async Task<Stream> GetLogsAsync(string name, CancellationToken cancel, bool follows = false) =>
        await (await SendAsync(HttpMethod.Get, $"{Of(name)}/logs?follow={(follows ? "true" : "false")}", null, cancel).ConfigureAwait(false)).Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);

    /// <summary>Makes a snapshot.</summary>
    public Task<SnapshotReport> SnapshotAsync(string name, SnapshotRequest request, CancellationToken cancel, Action<Operation>? progress = null) =>
        OperateAsync($"{Of(name)}/snapshots", Content(request, ApiJson.Default.SnapshotRequest), ApiJson.Default.SnapshotReport, progress, cancel);

    /// <summary>A snapshot's manifest.</summary>
    public Task<SnapshotManifest> GetSnapshotAsync(string name, string snapshot, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, $"{Of(name)}/snapshots/{Uri.EscapeDataString(snapshot)}", null, ApiJson.Default.SnapshotManifest, cancel);

    /// <summary>Removes a snapshot.</summary>
    /// <returns>The names of what was removed.</returns>
    public Task<IReadOnlyList<string>> RemoveSnapshotAsync(string name, string snapshot, bool isRecursive, CancellationToken cancel) =>
        SendAsync(HttpMethod.Delete, $"{Of(name)}/snapshots/{Uri.EscapeDataString(snapshot)}?recursive={(isRecursive ? "true" : "false")}", null, ApiJson.Default.IReadOnlyListString, cancel);

    /// <summary>What a machine has done since its start.</summary>
    public Task<MachineStatistics> GetStatisticsAsync(string name, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, $"{Of(name)}/stats", null, ApiJson.Default.MachineStatistics, cancel);

    /// <summary>What a machine's guest says of its memory.</summary>
    public Task<BalloonReport> GetBalloonAsync(string name, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, $"{Of(name)}/balloon", null, ApiJson.Default.BalloonReport, cancel);

    /// <summary>The snapshots of a machine, oldest first.</summary>
    public Task<IReadOnlyList<SnapshotManifest>> ListSnapshotsAsync(string name, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, $"{Of(name)}/snapshots", null, ApiJson.Default.IReadOnlyListSnapshotManifest, cancel);

    /// <summary>What happens from now on.</summary>
    /// <param name="connected">Called when nothing that happens is missed any more.</param>
    /// <param name="cancel">Ends it.</param>
    public IAsyncEnumerable<MachineEvent> ReadEventsAsync(Action? connected, CancellationToken cancel) => ReadEventsAsync("events", ApiJson.Compact.MachineEvent, connected, cancel);

    /// <summary>Joins a machine's serial console: what is read is its output, what is written its input.</summary>
    /// <exception cref="ApiException">It doesn't run, or its console is elsewhere.</exception>
    public async Task<Stream> AttachConsoleAsync(string name, CancellationToken cancel)
    {
        using HttpResponseMessage refused = await _http.GetAsync(Of(name), cancel).ConfigureAwait(false);
        await RefuseAsync(refused, $"GET {Of(name)}", cancel).ConfigureAwait(false);
        var socket = new ClientWebSocket();
        try
        {
            socket.Options.SetRequestHeader("Authorization", _token is null ? null : $"Bearer {_token}");
            using var invoker = new HttpMessageInvoker(new SocketsHttpHandler { ConnectCallback = (_, stop) => _connect(stop) });
            await socket.ConnectAsync(new Uri($"ws://doppel/v1/{Of(name)}/console"), invoker, cancel).ConfigureAwait(false);
            return WebSocketStream.Create(socket, WebSocketMessageType.Binary, ownsWebSocket: true);
        }
        catch (WebSocketException e)
        {
            socket.Dispose();
            throw new ApiException(409, $"{name}: the console can't be had: the machine does not run, or its console is elsewhere ({e.Message})");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    private static async ValueTask<Stream> ConnectAsync(string path, CancellationToken cancel)
    {
        var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
            return new NetworkStream(connection, ownsSocket: true);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private static async ValueTask<Stream> ConnectAsync(Remote remote, CancellationToken cancel)
    {
        var connection = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        SslStream? secured = null;
        try
        {
            await connection.ConnectAsync(remote.Host, remote.Port, cancel).ConfigureAwait(false);
            secured = new SslStream(new NetworkStream(connection, ownsSocket: true));
            await secured.AuthenticateAsClientAsync(remote.Authentication(), cancel).ConfigureAwait(false);
            return secured;
        }
        catch
        {
            if (secured is not null)
                await secured.DisposeAsync().ConfigureAwait(false);
            connection.Dispose();
            throw;
        }
    }

    private static string OfOperation(string id) => $"operations/{Uri.EscapeDataString(id)}";

    private async IAsyncEnumerable<T> ReadEventsAsync<T>(string path, JsonTypeInfo<T> type, Action? connected, [EnumeratorCancellation] CancellationToken cancel)
        where T : class
    {
        using HttpResponseMessage response = await SendAsync(HttpMethod.Get, path, null, cancel).ConfigureAwait(false);
        connected?.Invoke();
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false));
        while (await reader.ReadLineAsync(cancel).ConfigureAwait(false) is string line)
        {
            const string Data = "data: ";
            if (line.StartsWith(Data, StringComparison.Ordinal) && JsonSerializer.Deserialize(line[Data.Length..], type) is T happened)
                yield return happened;
        }
    }

    /// <summary>Does something that may be an operation; follows that to its end, and cancels it if nobody waits for it any more.</summary>
    private async Task<T> OperateAsync<T>(string path, HttpContent? content, JsonTypeInfo<T> type, Action<Operation>? progress, CancellationToken cancel)
    {
        string text;
        using (HttpResponseMessage response = await SendAsync(HttpMethod.Post, path, content, cancel).ConfigureAwait(false))
        {
            text = await response.Content.ReadAsStringAsync(cancel).ConfigureAwait(false);
            if (response.StatusCode != HttpStatusCode.Accepted)
                return JsonSerializer.Deserialize(text, type) ?? throw new IOException($"POST {path}: the daemon's answer is empty");
        }

        string id = JsonSerializer.Deserialize(text, ApiJson.Default.Operation)!.Id;
        Operation ended;
        await using (cancel.Register(() => _ = TryCancelAsync(id)))
            ended = await FollowAsync(id, progress, CancellationToken.None).ConfigureAwait(false);
        return ended switch
        {
            { State: OperationState.Done, Result: JsonElement result } => result.Deserialize(type)!,
            { State: OperationState.Cancelled } => throw new OperationCanceledException(ended.Error),
            _ => throw new ApiException(ended.Status ?? 500, ended.Error ?? $"POST {path}: the operation has failed"),
        };
    }

    private async Task TryCancelAsync(string id)
    {
        try
        {
            _ = await CancelOperationAsync(id, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ApiException)
        {
            // It has ended, or the daemon has; whoever follows it is told.
        }
    }

    private static string Of(string name) => $"machines/{Uri.EscapeDataString(name)}";

    private static StringContent Content<T>(T value, JsonTypeInfo<T> type) => new(JsonSerializer.Serialize(value, type), Encoding.UTF8, "application/json");

    private async Task<T> SendAsync<T>(HttpMethod method, string path, HttpContent? content, JsonTypeInfo<T> type, CancellationToken cancel)
    {
        using HttpResponseMessage response = await SendAsync(method, path, content, cancel).ConfigureAwait(false);
        return JsonSerializer.Deserialize(await response.Content.ReadAsStringAsync(cancel).ConfigureAwait(false), type) ?? throw new IOException($"{method} {path}: the daemon's answer is empty");
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, HttpContent? content, CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(method, path) { Content = content };
        HttpResponseMessage response;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel).ConfigureAwait(false);
        }
        catch (HttpRequestException e)
        {
            throw new IOException($"the daemon does not answer: {e.InnerException?.Message ?? e.Message}", e);
        }

        if (!response.IsSuccessStatusCode)
        {
            using (response)
                await RefuseAsync(response, $"{method} {path}", cancel).ConfigureAwait(false);
        }

        return response;
    }

    private static async Task RefuseAsync(HttpResponseMessage response, string call, CancellationToken cancel)
    {
        if (response.IsSuccessStatusCode)
            return;
        string text = await response.Content.ReadAsStringAsync(cancel).ConfigureAwait(false);
        throw new ApiException((int)response.StatusCode, ErrorOf(text) ?? $"{call}: the daemon answers {(int)response.StatusCode}");
    }

    private static string? ErrorOf(string text)
    {
        try
        {
            return JsonSerializer.Deserialize(text, ApiJson.Default.ApiError)?.Error;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
