using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Api;

/// <summary>Calls the daemon's REST API. Any thread.</summary>
public sealed class DaemonClient : IDisposable
{
    private readonly HttpClient _http;

    /// <summary>Calls the daemon at a socket, which need not listen yet.</summary>
    public DaemonClient(string socket)
    {
        var handler = new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) =>
            {
                var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancel).ConfigureAwait(false);
                    return new NetworkStream(connection, ownsSocket: true);
                }
                catch
                {
                    connection.Dispose();
                    throw;
                }
            },
        };
        _http = new HttpClient(handler) { BaseAddress = new Uri("http://doppel/v1/"), Timeout = Timeout.InfiniteTimeSpan };
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

    /// <summary>Does what has no parameters: start, kill, restart, pause, resume or suspend; stop with a query.</summary>
    public Task<MachineView> DoAsync(string name, string action, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, $"{Of(name)}/{action}", null, ApiJson.Default.MachineView, cancel);

    /// <summary>Changes a machine.</summary>
    public Task<MachineView> UpdateAsync(string name, UpdateRequest request, CancellationToken cancel) =>
        SendAsync(HttpMethod.Patch, Of(name), Content(request, ApiJson.Default.UpdateRequest), ApiJson.Default.MachineView, cancel);

    /// <summary>Gives a machine another name.</summary>
    public Task<MachineView> RenameAsync(string name, string next, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, $"{Of(name)}/rename", Content(new RenameRequest(next), ApiJson.Default.RenameRequest), ApiJson.Default.MachineView, cancel);

    /// <summary>Removes a machine.</summary>
    public Task RemoveAsync(string name, bool force, CancellationToken cancel) => SendAsync(HttpMethod.Delete, $"{Of(name)}?force={(force ? "true" : "false")}", null, cancel);

    /// <summary>A machine's console output so far.</summary>
    public async Task<Stream> GetLogsAsync(string name, CancellationToken cancel) =>
        await (await SendAsync(HttpMethod.Get, $"{Of(name)}/logs", null, cancel).ConfigureAwait(false)).Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);

    /// <summary>Makes a snapshot.</summary>
    public Task<SnapshotReport> SnapshotAsync(string name, SnapshotRequest request, CancellationToken cancel) =>
        SendAsync(HttpMethod.Post, $"{Of(name)}/snapshots", Content(request, ApiJson.Default.SnapshotRequest), ApiJson.Default.SnapshotReport, cancel);

    /// <summary>The snapshots of a machine, oldest first.</summary>
    public Task<IReadOnlyList<SnapshotManifest>> ListSnapshotsAsync(string name, CancellationToken cancel) =>
        SendAsync(HttpMethod.Get, $"{Of(name)}/snapshots", null, ApiJson.Default.IReadOnlyListSnapshotManifest, cancel);

    /// <summary>What happens from now on.</summary>
    /// <param name="connected">Called when nothing that happens is missed any more.</param>
    /// <param name="cancel">Ends it.</param>
    public async IAsyncEnumerable<MachineEvent> ReadEventsAsync(Action? connected, [EnumeratorCancellation] CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "events");
        using HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel).ConfigureAwait(false);
        connected?.Invoke();
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false));
        while (await reader.ReadLineAsync(cancel).ConfigureAwait(false) is string line)
        {
            const string Data = "data: ";
            if (line.StartsWith(Data, StringComparison.Ordinal) && JsonSerializer.Deserialize(line[Data.Length..], ApiJson.Compact.MachineEvent) is MachineEvent happened)
                yield return happened;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

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
            throw new IOException($"the daemon does not answer: {e.Message}", e);
        }

        if (response.IsSuccessStatusCode)
            return response;
        using (response)
        {
            string text = await response.Content.ReadAsStringAsync(cancel).ConfigureAwait(false);
            throw new ApiException((int)response.StatusCode, ErrorOf(text) ?? $"{method} {path}: the daemon answers {(int)response.StatusCode}");
        }
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
