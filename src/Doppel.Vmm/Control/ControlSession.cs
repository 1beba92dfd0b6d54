using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace Doppel.Vmm.Control;

/// <summary>One connection to a machine: answers a line of JSON with a line of JSON until the other end has no more.</summary>
/// <param name="stream">The connection.</param>
/// <param name="control">Answers requests.</param>
public sealed class ControlSession(Stream stream, MachineControl control)
{
    /// <summary>Longest request, in bytes; a longer one ends the connection.</summary>
    public const int LongestRequest = 1 << 16;

    private readonly byte[] _buffer = new byte[LongestRequest];
    private int _length;
    private bool _isTooLong;
    private bool _shares;

    /// <summary>Serves the connection to its end.</summary>
    /// <exception cref="IOException">The connection is broken.</exception>
    public async Task RunAsync(CancellationToken cancel)
    {
        try
        {
            await ServeAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            if (_shares)
                control.EndShare();
        }
    }

    private async Task ServeAsync(CancellationToken cancel)
    {
        Task<byte[]?> next = NextLineAsync(cancel);
        while (await next.ConfigureAwait(false) is byte[] line)
        {
            if (Parse(line) is not ControlRequest request)
            {
                string given = Encoding.UTF8.GetString(line.AsSpan(0, Math.Min(line.Length, 100)));
                await ReplyAsync(new ControlReply { Error = $"\"{given}\" is no request: {{\"verb\":\"{ControlRequest.Statistics}\"}} would be right" }).ConfigureAwait(false);
                next = NextLineAsync(cancel);
            }
            else if (request.IsFollowed)
            {
                next = await FollowAsync(request, cancel).ConfigureAwait(false);
            }
            else
            {
                // One that came too late has nothing to cancel, and no answer.
                if (request.Verb != ControlRequest.Cancel)
                {
                    _shares |= request.Verb == ControlRequest.Share;
                    ControlReply reply = await control.AnswerAsync(request, cancel).ConfigureAwait(false);
                    await ReplyAsync(reply).ConfigureAwait(false);
                    if (reply.Error is null && request.Verb == ControlRequest.Console)
                    {
                        await control.AttachAsync(stream, cancel).ConfigureAwait(false);
                        return;
                    }
                }

                next = NextLineAsync(cancel);
            }
        }

        if (_isTooLong)
            await ReplyAsync(new ControlReply { Error = $"a request of more than {LongestRequest} bytes: one line of JSON would be right" }).ConfigureAwait(false);
    }

    private static ControlRequest? Parse(byte[] line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequest) is { Verb: not null } request ? request : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Answers a request, saying how far it is meanwhile, and hears whether it is cancelled.</summary>
    /// <returns>The line after it.</returns>
    private async Task<Task<byte[]?>> FollowAsync(ControlRequest request, CancellationToken cancel)
    {
        using var giveUp = new CancellationTokenSource();
        var progress = Channel.CreateBounded<OperationProgress>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });
        Task told = TellAsync(progress.Reader);
        Task<ControlReply> answer = control.FollowAsync(request, now => progress.Writer.TryWrite(now), giveUp.Token);
        Task<byte[]?> next = NextLineAsync(cancel);
        // Whoever closes the connection no longer wants to know, but has asked for it.
        if (await Task.WhenAny(answer, next).ConfigureAwait(false) == next && next.IsCompletedSuccessfully && next.Result is byte[] line && Parse(line) is { Verb: ControlRequest.Cancel })
        {
            await giveUp.CancelAsync().ConfigureAwait(false);
            next = NextLineAsync(cancel);
        }

        ControlReply reply = await answer.ConfigureAwait(false);
        progress.Writer.Complete();
        await told.ConfigureAwait(false);
        await ReplyAsync(reply).ConfigureAwait(false);
        return next;
    }

    private async Task TellAsync(ChannelReader<OperationProgress> progress)
    {
        await foreach (OperationProgress now in progress.ReadAllAsync().ConfigureAwait(false))
        {
            try
            {
                await ReplyAsync(new ControlReply { Progress = now }).ConfigureAwait(false);
            }
            catch (IOException)
            {
                // Nobody wants to know; the reader of the connection sees that too.
            }
        }
    }

    /// <summary>The next line without its end; null at the end of the connection, or when a line is too long.</summary>
    private async Task<byte[]?> NextLineAsync(CancellationToken cancel)
    {
        while (true)
        {
            int end = _buffer.AsSpan(0, _length).IndexOf((byte)'\n');
            if (end >= 0)
            {
                byte[] line = _buffer[..end];
                _length -= end + 1;
                _buffer.AsSpan(end + 1, _length).CopyTo(_buffer);
                return line;
            }

            _isTooLong = _length == _buffer.Length;
            if (_isTooLong)
                return null;
            int count = await stream.ReadAsync(_buffer.AsMemory(_length), cancel).ConfigureAwait(false);
            if (count == 0)
                return null;
            _length += count;
        }
    }

    // What was done is said, also when it was the machine's end.
    private async Task ReplyAsync(ControlReply reply)
    {
        byte[] json = [.. JsonSerializer.SerializeToUtf8Bytes(reply, ControlJson.Default.ControlReply), (byte)'\n'];
        await stream.WriteAsync(json).ConfigureAwait(false);
        await stream.FlushAsync().ConfigureAwait(false);
    }
}
