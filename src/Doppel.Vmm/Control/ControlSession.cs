using System.Text;
using System.Text.Json;

namespace Doppel.Vmm.Control;

/// <summary>One connection to a machine: answers a line of JSON with a line of JSON until the other end has no more.</summary>
/// <param name="stream">The connection.</param>
/// <param name="answer">Answers a request; must not throw.</param>
public sealed class ControlSession(Stream stream, Func<ControlRequest, Task<ControlReply>> answer)
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
                await ReplyAsync(await AnswerAsync(line.AsMemory(0, end)).ConfigureAwait(false), cancel).ConfigureAwait(false);
                length -= end + 1;
                line.AsSpan(end + 1, length).CopyTo(line);
            }
        }

        await ReplyAsync(new ControlReply { Error = $"a request of more than {LongestRequest} bytes: one line of JSON would be right" }, cancel).ConfigureAwait(false);
    }

    private async Task<ControlReply> AnswerAsync(ReadOnlyMemory<byte> line)
    {
        try
        {
            if (JsonSerializer.Deserialize(line.Span, ControlJson.Default.ControlRequest) is { Verb: not null } request)
                return await answer(request).ConfigureAwait(false);
        }
        catch (JsonException)
        {
            // Said below.
        }

        string given = Encoding.UTF8.GetString(line.Span[..Math.Min(line.Length, 100)]);
        return new ControlReply { Error = $"\"{given}\" is no request: {{\"verb\":\"{ControlRequest.Statistics}\"}} would be right" };
    }

    private async Task ReplyAsync(ControlReply reply, CancellationToken cancel)
    {
        byte[] json = [.. JsonSerializer.SerializeToUtf8Bytes(reply, ControlJson.Default.ControlReply), (byte)'\n'];
        await stream.WriteAsync(json, cancel).ConfigureAwait(false);
        await stream.FlushAsync(cancel).ConfigureAwait(false);
    }
}
