using System.Net.WebSockets;

namespace Doppel.Daemon;

/// <summary>Joins a WebSocket with a machine's console: messages in either direction are bytes of the serial line, however they are cut.</summary>
internal static class ConsoleBridge
{
    private static readonly TimeSpan FarewellTime = TimeSpan.FromSeconds(2);

    /// <summary>Carries bytes until one side ends.</summary>
    /// <param name="socket">The WebSocket; closed here.</param>
    /// <param name="console">The console's connection.</param>
    /// <param name="cancel">Ends it.</param>
    internal static async Task RunAsync(WebSocket socket, Stream console, CancellationToken cancel)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task output = SendAsync(socket, console, end.Token), input = ReceiveAsync(socket, console, end.Token);
        try
        {
            Task first = await Task.WhenAny(output, input).ConfigureAwait(false);
            if (socket.State is WebSocketState.Open or WebSocketState.CloseReceived)
                await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, first == output ? "the machine has ended" : null, CancellationToken.None).ConfigureAwait(false);
            // Ending the connection before the other end has read the farewell would take that from it.
            await input.WaitAsync(FarewellTime, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is WebSocketException or TimeoutException or OperationCanceledException)
        {
            // The other end is gone, or says nothing, or the daemon ends.
        }

        await end.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(output, input).ConfigureAwait(false);
    }

    private static async Task SendAsync(WebSocket socket, Stream console, CancellationToken cancel)
    {
        byte[] buffer = new byte[4096];
        try
        {
            while (await console.ReadAsync(buffer, cancel).ConfigureAwait(false) is int count && count != 0)
                await socket.SendAsync(buffer.AsMemory(0, count), WebSocketMessageType.Binary, endOfMessage: true, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or WebSocketException or OperationCanceledException)
        {
            // One of them is gone.
        }
    }

    private static async Task ReceiveAsync(WebSocket socket, Stream console, CancellationToken cancel)
    {
        byte[] buffer = new byte[4096];
        try
        {
            while (await socket.ReceiveAsync(buffer.AsMemory(), cancel).ConfigureAwait(false) is { MessageType: not WebSocketMessageType.Close } received)
                await console.WriteAsync(buffer.AsMemory(0, received.Count), cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or WebSocketException or OperationCanceledException)
        {
            // One of them is gone.
        }
    }
}
