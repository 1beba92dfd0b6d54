using System.Text;
using System.Text.Json;

namespace Doppel.Vmm.Control;

/// <summary>One connection to a machine: answers a line of JSON with a line of JSON until the other end has no more.</summary>
/// <param name="stream">The connection.</param>
/// <param name="control">Answers requests.</param>
public sealed class ControlSession(Stream stream, MachineControl control)
{
    /// <summary>Longest request, in bytes; a longer one ends the connection.</summary>
    public const int LongestRequest = 1 << 16;

    /// <summary>Serves the connection to its end.</summary>
    /// <exception cref="IOException">The connection is broken.</exception>
    public async Task RunAsync(CancellationToken cancel)
    {
        byte[] line = new byte[LongestRequest];
        int length = 0;
        while (length < line.Length)
        {
            int count = await stream.ReadAsync(line.AsMemory(length), cancel).ConfigureAwait(false);
            if (count == 0)
                return;
            length += count;
            int end;
            while ((end = line.AsSpan(0, length).IndexOf((byte)'\n')) >= 0)
            {
                (ControlReply reply, bool isConsole) = await AnswerAsync(line.AsMemory(0, end), cancel).ConfigureAwait(false);
                await ReplyAsync(reply).ConfigureAwait(false);
                if (isConsole)
                {
                    await control.AttachAsync(stream, cancel).ConfigureAwait(false);
                    return;
                }

                length -= end + 1;
                line.AsSpan(end + 1, length).CopyTo(line);
            }
        }

        await ReplyAsync(new ControlReply { Error = $"a request of more than {LongestRequest} bytes: one line of JSON would be right" }).ConfigureAwait(false);
    }

    private async Task<(ControlReply Reply, bool IsConsole)> AnswerAsync(ReadOnlyMemory<byte> line, CancellationToken cancel)
    {
        try
        {
            if (JsonSerializer.Deserialize(line.Span, ControlJson.Default.ControlRequest) is { Verb: not null } request)
            {
                ControlReply reply = await control.AnswerAsync(request, cancel).ConfigureAwait(false);
                return (reply, reply.Error is null && request.Verb == ControlRequest.Console);
            }
        }
        catch (JsonException)
        {
            // Said below.
        }

        string given = Encoding.UTF8.GetString(line.Span[..Math.Min(line.Length, 100)]);
        return (new ControlReply { Error = $"\"{given}\" is no request: {{\"verb\":\"{ControlRequest.Statistics}\"}} would be right" }, false);
    }

    // What was done is said, also when it was the machine's end.
    private async Task ReplyAsync(ControlReply reply)
    {
        byte[] json = [.. JsonSerializer.SerializeToUtf8Bytes(reply, ControlJson.Default.ControlReply), (byte)'\n'];
        await stream.WriteAsync(json).ConfigureAwait(false);
        await stream.FlushAsync().ConfigureAwait(false);
    }
}
