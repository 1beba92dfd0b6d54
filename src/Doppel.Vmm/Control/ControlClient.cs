using System.Net.Sockets;
using System.Text.Json;

namespace Doppel.Vmm.Control;

/// <summary>Asks a running machine over its control socket. One request at a time.</summary>
public sealed class ControlClient : IDisposable
{
    private readonly NetworkStream _stream;
    private readonly StreamReader _reader;

    private ControlClient(Socket socket)
    {
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = new StreamReader(_stream);
    }

    /// <summary>Connects to a socket of <see cref="ControlDirectory.List"/>.</summary>
    /// <exception cref="IOException">Nobody listens there.</exception>
    public static async Task<ControlClient> ConnectAsync(string path, CancellationToken cancel = default)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
            return new ControlClient(socket);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"{path}: no machine answers there: {e.Message}", e);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends a request and waits for its answer.</summary>
    /// <exception cref="IOException">The machine has ended, or says that the request is wrong.</exception>
    public async Task<ControlReply> AskAsync(ControlRequest request, CancellationToken cancel = default)
    {
        await SendAsync(request, cancel).ConfigureAwait(false);
        return await ReceiveAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Sends a request that takes its time, and follows it to its end.</summary>
    /// <param name="request">The request; <see cref="ControlRequest.IsFollowed"/> is set here.</param>
    /// <param name="progress">Told how far it is.</param>
    /// <param name="cancel">Asks the machine to give it up; that it has is known when the call has ended.</param>
    /// <exception cref="IOException">As for <see cref="AskAsync"/>.</exception>
    /// <exception cref="OperationCanceledException">It was given up.</exception>
    public async Task<ControlReply> FollowAsync(ControlRequest request, Action<OperationProgress> progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(progress);
        await SendAsync(request with { IsFollowed = true }, CancellationToken.None).ConfigureAwait(false);
        using (cancel.Register(() => _ = TryCancelAsync()))
        {
            while (true)
            {
                ControlReply reply = await ReceiveAsync(CancellationToken.None).ConfigureAwait(false);
                if (reply.Progress is not OperationProgress now)
                    return reply;
                progress(now);
            }
        }
    }

    private async Task TryCancelAsync()
    {
        try
        {
            await SendAsync(new ControlRequest(ControlRequest.Cancel), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // It has ended meanwhile.
        }
    }

    private async Task SendAsync(ControlRequest request, CancellationToken cancel)
    {
        byte[] json = [.. JsonSerializer.SerializeToUtf8Bytes(request, ControlJson.Default.ControlRequest), (byte)'\n'];
        await _stream.WriteAsync(json, cancel).ConfigureAwait(false);
    }

    private async Task<ControlReply> ReceiveAsync(CancellationToken cancel)
    {
        string line = await _reader.ReadLineAsync(cancel).ConfigureAwait(false) ?? throw new IOException("the machine has ended");
        ControlReply? reply;
        try
        {
            reply = JsonSerializer.Deserialize(line, ControlJson.Default.ControlReply);
        }
        catch (JsonException e)
        {
            throw new IOException($"the machine's answer can't be read: {e.Message}", e);
        }

        if (reply is { IsCancelled: true })
            throw new OperationCanceledException(reply.Error);
        if (reply is null || reply.Error is not null)
            throw new IOException($"the machine refuses: {reply?.Error}");
        return reply;
    }

    /// <summary>Makes of the connection the machine's serial console: what is read is its output, what is written its input.</summary>
    /// <returns>The connection, which the client still owns.</returns>
    /// <exception cref="IOException">As for <see cref="AskAsync"/>.</exception>
    public async Task<Stream> AttachConsoleAsync(CancellationToken cancel = default)
    {
        // Byte by byte, since what follows the answer's line is the console's.
        await SendAsync(new ControlRequest(ControlRequest.Console), cancel).ConfigureAwait(false);
        var line = new List<byte>();
        byte[] next = new byte[1];
        while (true)
        {
            if (await _stream.ReadAsync(next, cancel).ConfigureAwait(false) == 0)
                throw new IOException("the machine has ended");
            if (next[0] == '\n')
                break;
            line.Add(next[0]);
        }

        ControlReply? reply = JsonSerializer.Deserialize([.. line], ControlJson.Default.ControlReply);
        return reply is { Error: null } ? _stream : throw new IOException($"the machine refuses: {reply?.Error}");
    }

    /// <summary>Asks for the machine's statistics.</summary>
    /// <exception cref="IOException">As for <see cref="AskAsync"/>.</exception>
    public async Task<MachineStatistics> GetStatisticsAsync(CancellationToken cancel = default) =>
        (await AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false)).Statistics
        ?? throw new IOException("the machine's answer has no statistics");

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _stream.Dispose();
    }
}
