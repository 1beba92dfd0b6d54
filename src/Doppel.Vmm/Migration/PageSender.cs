using System.Diagnostics;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration;

/// <summary>
/// Sends pages over several connections. A page always takes the same one, so that what was sent later arrives later. One
/// round at a time.
/// </summary>
/// <param name="connections">The connections; owned.</param>
/// <param name="limit">Their bandwidth.</param>
/// <param name="compression">Whether they compress.</param>
/// <param name="hasZstandard">True when both sides can.</param>
internal sealed class PageSender(IReadOnlyList<MigrationStream> connections, BandwidthLimit limit, MigrationCompression compression, bool hasZstandard) : IAsyncDisposable
{
    private readonly CompressionChoice[] _choices = [.. connections.Select(_ => new CompressionChoice(compression, hasZstandard))];
    private readonly Lock _lock = new();
    private PageSet? _known;
    private ulong _pages;
    private ulong _zeroPages;
    private ulong _remaining;

    /// <summary>Pages sent with their bytes.</summary>
    internal ulong Pages => Volatile.Read(ref _pages);

    /// <summary>Pages of zeros.</summary>
    internal ulong ZeroPages => Volatile.Read(ref _zeroPages);

    /// <summary>Pages of the present round that are still to be sent.</summary>
    internal ulong Remaining => Volatile.Read(ref _remaining);

    /// <summary>Bytes that went over the wire.</summary>
    internal ulong SentBytes => connections.Aggregate(0UL, (sum, connection) => sum + connection.SentBytes);

    /// <summary>Forgets what the target has.</summary>
    internal void Reset() => _known = null;

    /// <summary>Sends pages as they are now, and a fence behind them on every connection.</summary>
    /// <param name="memory">The memory. The machine may run.</param>
    /// <param name="pages">The pages.</param>
    /// <param name="fence">Number of the fence.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="IOException">A connection is broken.</exception>
    internal async Task SendAsync(GuestMemory memory, PageSet pages, int fence, CancellationToken cancel)
    {
        // What the target never got is zeros there.
        _known ??= PageSet.For(memory);
        Volatile.Write(ref _remaining, pages.Count);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task[] all = [.. connections.Select((_, i) => Task.Run(() => SendShareAsync(i, memory, pages, fence, end), CancellationToken.None))];
        try
        {
            await Task.WhenAll(all).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            // Another connection's fault made this one stop.
            throw all.First(task => task.IsFaulted).Exception!.InnerException!;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (MigrationStream connection in connections)
            await connection.DisposeAsync().ConfigureAwait(false);
    }

    private async Task SendShareAsync(int share, GuestMemory memory, PageSet pages, int fence, CancellationTokenSource end)
    {
        try
        {
            var batch = new OutgoingPages();
            foreach ((ulong first, ulong count) in pages.Runs())
            {
                for (ulong page = first; page < first + count;)
                {
                    // Groups of neighbours that go together, cut at the borders at which connections alternate.
                    ulong stop = Math.Min(first + count, (page / PageBatch.MostPages + 1) * PageBatch.MostPages);
                    if (page / PageBatch.MostPages % (ulong)connections.Count == (ulong)share)
                    {
                        for (; page < stop; page++)
                        {
                            Take(batch, memory, page);
                            if (batch.IsFull)
                                await SendAsync(share, batch, end.Token).ConfigureAwait(false);
                        }
                    }

                    page = stop;
                }
            }

            await SendAsync(share, batch, end.Token).ConfigureAwait(false);
            await connections[share].SendAsync(FrameKind.Fence, fence, end.Token).ConfigureAwait(false);
        }
        catch
        {
            await end.CancelAsync().ConfigureAwait(false);
            throw;
        }
    }

    private void Take(OutgoingPages batch, GuestMemory memory, ulong page)
    {
        ReadOnlySpan<byte> bytes = memory.UnusedFrom(page * GuestMemory.PageSize, GuestMemory.PageSize) != 0 ? [] : memory.GetStoredPage(page * GuestMemory.PageSize);
        Interlocked.Decrement(ref _remaining);
        if (!bytes.ContainsAnyExcept((byte)0))
        {
            Interlocked.Increment(ref _zeroPages);
            bool isKnown;
            lock (_lock)
                isKnown = _known!.Contains(page);
            if (isKnown)
                batch.AddZero(page);
            return;
        }

        // From a copy, for the guest may write meanwhile.
        batch.Add(page, bytes);
        Interlocked.Increment(ref _pages);
        lock (_lock)
            _known!.Add(page);
    }

    private async Task SendAsync(int share, OutgoingPages batch, CancellationToken cancel)
    {
        if (batch.Count == 0)
            return;
        CompressionChoice choice = _choices[share];
        bool compresses = choice.Decide();
        long begin = Stopwatch.GetTimestamp();
        ReadOnlyMemory<byte> bytes = batch.Write(compresses);
        if (compresses)
            choice.Compressed(batch.ContentLength, bytes.Length, Stopwatch.GetTimestamp() - begin);
        await limit.WaitAsync(bytes.Length, cancel).ConfigureAwait(false);
        begin = Stopwatch.GetTimestamp();
        await connections[share].SendAsync(FrameKind.Pages, bytes, cancel).ConfigureAwait(false);
        choice.Sent(bytes.Length, Stopwatch.GetTimestamp() - begin);
        batch.Clear();
    }
}
