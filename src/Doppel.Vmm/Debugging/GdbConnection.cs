using System.Threading.Channels;

namespace Doppel.Vmm.Debugging;

/// <summary>
/// One debugger's connection: frames and acknowledges packets, passes them to a <see cref="GdbSession"/>, and sends stop
/// replies. Everything happens in one loop, in the order of arrival.
/// </summary>
internal sealed class GdbConnection(IDebugTarget target, Stream stream)
{
    private readonly Channel<GdbInput?> _inputs = Channel.CreateUnbounded<GdbInput?>();
    private byte[] _lastPacket = [];
    private bool _isRunning;

    /// <summary>Serves the debugger until it leaves, the connection ends, or the machine does.</summary>
    internal async Task RunAsync(CancellationToken cancel)
    {
        target.Changed += OnChanged;
        bool hasLeft = false;
        try
        {
            await target.StopAsync().ConfigureAwait(false);
            _ = target.TakeStop();
            if (target.HasEnded)
                return;
            var session = new GdbSession(target);
            _ = ReadAsync(cancel);
            hasLeft = await ServeAsync(session, cancel).ConfigureAwait(false);
        }
        finally
        {
            target.Changed -= OnChanged;
            _inputs.Writer.TryComplete();
            // A machine that nobody could let go on would be of no use.
            if (!hasLeft && !target.HasEnded)
            {
                await target.StopAsync().ConfigureAwait(false);
                target.Detach();
            }
        }
    }

    // Null in the queue: the target may have stopped.
    private void OnChanged() => _inputs.Writer.TryWrite(null);

    private async Task ReadAsync(CancellationToken cancel)
    {
        var parser = new GdbParser();
        byte[] buffer = new byte[4096];
        try
        {
            int count;
            while ((count = await stream.ReadAsync(buffer, cancel).ConfigureAwait(false)) > 0)
            {
                for (int i = 0; i < count; i++)
                {
                    if (parser.Feed(buffer[i]) is { } input)
                        _inputs.Writer.TryWrite(input);
                }
            }

            _inputs.Writer.TryComplete();
        }
        catch (Exception e)
        {
            _inputs.Writer.TryComplete(e);
        }
    }

    /// <returns>True when the debugger has said goodbye.</returns>
    private async Task<bool> ServeAsync(GdbSession session, CancellationToken cancel)
    {
        await foreach (GdbInput? next in _inputs.Reader.ReadAllAsync(cancel).ConfigureAwait(false))
        {
            if (target.HasEnded)
            {
                // A command to go on may have been under way when the machine ended.
                if (_isRunning || (next is { Kind: GdbInputKind.Packet } last && GoesOn(last.Payload)))
                    await SendAsync("W00", cancel).ConfigureAwait(false);
                return true;
            }

            if (next is not { } input)
            {
                if (_isRunning && target.HasStop)
                    await ReportAsync(session, cancel).ConfigureAwait(false);
                continue;
            }

            switch (input.Kind)
            {
                case GdbInputKind.Interrupt when _isRunning:
                    await ReportAsync(session, cancel).ConfigureAwait(false);
                    break;
                case GdbInputKind.Damaged when !session.IsWithoutAcknowledgement:
                    await stream.WriteAsync("-"u8.ToArray(), cancel).ConfigureAwait(false);
                    break;
                case GdbInputKind.Repeat when !session.IsWithoutAcknowledgement:
                    await stream.WriteAsync(_lastPacket, cancel).ConfigureAwait(false);
                    break;
                case GdbInputKind.Packet:
                    if (!session.IsWithoutAcknowledgement)
                        await stream.WriteAsync("+"u8.ToArray(), cancel).ConfigureAwait(false);
                    if (await AnswerAsync(session, input.Payload, cancel).ConfigureAwait(false))
                        return true;
                    break;
            }
        }

        return false;
    }

    private static bool GoesOn(string packet) =>
        packet.StartsWith("vCont;", StringComparison.Ordinal) || (packet.Length > 0 && packet[0] is 'c' or 's' or 'C' or 'S');

    private async Task<bool> AnswerAsync(GdbSession session, string packet, CancellationToken cancel)
    {
        // Registers and memory can't be had while the machine runs; leaving is always possible.
        if (_isRunning && packet is not ("k" or "D") && !packet.StartsWith("vKill", StringComparison.Ordinal))
        {
            await SendAsync("E16", cancel).ConfigureAwait(false);
            return false;
        }

        if (_isRunning)
            await target.StopAsync().ConfigureAwait(false);
        GdbReply reply = await session.HandleAsync(packet).ConfigureAwait(false);
        _isRunning = reply.Next == GdbNext.Running;
        if (reply.Payload is not null)
            await SendAsync(reply.Payload, cancel).ConfigureAwait(false);
        return reply.Next is GdbNext.Detached or GdbNext.Killed;
    }

    private async Task ReportAsync(GdbSession session, CancellationToken cancel)
    {
        await target.StopAsync().ConfigureAwait(false);
        _isRunning = false;
        await SendAsync(session.ReportStop(target.TakeStop()), cancel).ConfigureAwait(false);
    }

    private async Task SendAsync(string payload, CancellationToken cancel)
    {
        _lastPacket = GdbPacket.Encode(payload);
        await stream.WriteAsync(_lastPacket, cancel).ConfigureAwait(false);
    }
}
