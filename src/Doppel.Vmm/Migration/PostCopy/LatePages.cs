using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration.PostCopy;

/// <summary>The source's side of what comes after the machine: which pages, and the connection on which they go.</summary>
internal sealed class LatePages : IAsyncDisposable
{
    private readonly MigrationStream _stream;
    private readonly LatePageSender _sender;
    private readonly CancellationTokenSource _end = new();
    private readonly Task _sending;

    private LatePages(MigrationStream stream, GuestMemory memory, PageSet now, PageSet late, bool compresses)
    {
        _stream = stream;
        Now = now;
        Count = late.Count;
        Runs = PageRuns.Write(late);
        _sender = new LatePageSender(stream, memory, late, compresses);
        // What the target touches when it takes the machine over is asked for before that runs.
        _sending = Task.Run(() => _sender.RunAsync(_end.Token));
    }

    /// <summary>Pages that go before the machine.</summary>
    internal PageSet Now { get; }

    /// <summary>The others, as they are told to the target.</summary>
    internal byte[] Runs { get; }

    /// <summary>How many.</summary>
    internal ulong Count { get; }

    /// <summary>Bytes of memory that are still to be sent.</summary>
    internal ulong Left => _sender.Left;

    /// <summary>Bytes that went over the wire.</summary>
    internal ulong SentBytes => _stream.SentBytes;

    /// <summary>Connects to the target's pager.</summary>
    /// <param name="pager">Where it listens.</param>
    /// <param name="memory">The memory. The machine stands still.</param>
    /// <param name="pages">What the target lacks.</param>
    /// <param name="compresses">True to compress.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="IOException">Nobody listens.</exception>
    internal static async Task<LatePages> ConnectAsync(MigrationAddress pager, GuestMemory memory, PageSet pages, bool compresses, CancellationToken cancel)
    {
        PageSet now = PageSet.For(memory), late = PageSet.For(memory);
        foreach ((ulong first, ulong count) in pages.Runs())
        {
            for (ulong page = first; page < first + count; page++)
                (memory.MayComeLate(page * GuestMemory.PageSize) ? late : now).Add(page);
        }

        MigrationStream stream = await pager.ConnectAsync(cancel).ConfigureAwait(false);
        try
        {
            await stream.SendAsync(FrameKind.Join, new JoinRequest(pager.Id, pager.Ticket, 0), MigrationJson.Default.JoinRequest, cancel).ConfigureAwait(false);
            return new LatePages(stream, memory, now, late, compresses);
        }
        catch
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The machine runs at the target: sends the rest. Completes when all is in place.</summary>
    /// <exception cref="IOException">The connection is broken.</exception>
    internal Task FinishAsync()
    {
        _sender.GoOn();
        return _sending;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        await _stream.DisposeAsync().ConfigureAwait(false);
        try
        {
            await _sending.ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Whoever waited for it has heard.
        }

        _end.Dispose();
    }
}
