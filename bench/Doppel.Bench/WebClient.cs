using System.Diagnostics;
using System.Net.Sockets;

namespace Doppel.Bench;

/// <summary>Asks a guest's web server again and again, and keeps one connection of another kind open: measures every request, and counts what is lost.</summary>
internal sealed class WebClient : IAsyncDisposable
{
    private const int ChunkLength = 64;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private readonly string _address;
    private readonly CancellationTokenSource _end = new();
    private readonly Task[] _tasks;
    private long _longest;
    private long _answered;
    private string? _lost;

    /// <summary>Begins.</summary>
    public WebClient(string address)
    {
        _address = address;
        _tasks = [Task.Run(RequestAsync), Task.Run(RequestAsync), Task.Run(EchoAsync)];
    }

    /// <summary>Begins to measure anew.</summary>
    public void Reset()
    {
        _ = Interlocked.Exchange(ref _longest, 0);
        _ = Interlocked.Exchange(ref _answered, 0);
    }

    /// <summary>Milliseconds of the longest request since <see cref="Reset"/>. Throws <see cref="BenchException"/> when one was lost.</summary>
    public double Check() => _lost is null && Interlocked.Read(ref _answered) > 0
        ? Stopwatch.GetElapsedTime(0, Interlocked.Read(ref _longest)).TotalMilliseconds
        : throw new BenchException(_lost ?? "no request was answered");

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await Task.WhenAll(_tasks);
        _end.Dispose();
    }

    private async Task RequestAsync()
    {
        using var http = new HttpClient { BaseAddress = new Uri($"http://{_address}/"), Timeout = Patience };
        // A file of 4 MiB in pieces: the server is busy between them.
        await MeasureAsync("a request", async () =>
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "text");
            request.Headers.Range = new System.Net.Http.Headers.RangeHeaderValue(0, 65535);
            using HttpResponseMessage response = await http.SendAsync(request, _end.Token);
            _ = await response.EnsureSuccessStatusCode().Content.ReadAsByteArrayAsync(_end.Token);
        });
    }

    // One TCP connection from the first move to the last: every byte must come back in its place.
    private async Task EchoAsync()
    {
        using var client = new TcpClient { NoDelay = true };
        byte[] sent = new byte[ChunkLength], received = new byte[ChunkLength];
        var random = new Random(1);
        await MeasureAsync("the open connection", async () =>
        {
            if (!client.Connected)
            {
                await client.ConnectAsync(_address, 7, _end.Token);
            }

            random.NextBytes(sent);
            await client.GetStream().WriteAsync(sent, _end.Token);
            await client.GetStream().ReadExactlyAsync(received, _end.Token).AsTask().WaitAsync(Patience, _end.Token);
            if (!sent.AsSpan().SequenceEqual(received))
            {
                throw new IOException("other bytes came back than were sent");
            }
        });
    }

    private async Task MeasureAsync(string what, Func<Task> action)
    {
        while (_lost is null && !_end.IsCancellationRequested)
        {
            long begin = Stopwatch.GetTimestamp();
            try
            {
                await action();
                _ = Interlocked.Increment(ref _answered);
                long took = Stopwatch.GetTimestamp() - begin;
                for (long longest = Interlocked.Read(ref _longest); took > longest && Interlocked.CompareExchange(ref _longest, took, longest) != longest;)
                {
                    longest = Interlocked.Read(ref _longest);
                }
            }
            catch (Exception e) when (e is IOException or HttpRequestException or SocketException or OperationCanceledException or TimeoutException)
            {
                if (!_end.IsCancellationRequested)
                {
                    _lost = $"{what} was lost: {e.Message}";
                }
            }
        }
    }
}
