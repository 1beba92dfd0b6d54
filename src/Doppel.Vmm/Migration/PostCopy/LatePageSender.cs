using System.Threading.Channels;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration.PostCopy;

/// <summary>
/// Sends the pages that are left when the machine runs at the target: those first that its guest waits for, the others in between.
/// The machine stands still here.
/// </summary>
/// <param name="stream">The connection to the target's pager; not disposed here.</param>
/// <param name="memory">The memory.</param>
/// <param name="pages">The pages.</param>
/// <param name="compresses">True to compress them.</param>
internal sealed class LatePageSender(MigrationStream stream, GuestMemory memory, PageSet pages, bool compresses)
{
    // Few enough that one that is waited for does not wait long behind them.
    private const int Batch = 16;
    private readonly Channel<ulong> _asked = Channel.CreateUnbounded<ulong>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
    private readonly TaskCompletionSource _moved = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PageSet _sent = PageSet.For(memory);
    private readonly OutgoingPages _batch = new();
    private ulong _left = pages.Count;

    /// <summary>Bytes of memory that are still to be sent. Any thread.</summary>
    internal ulong Left => Volatile.Read(ref _left) * GuestMemory.PageSize;

    /// <summary>Pages that the guest has waited for. Any thread.</summary>
    internal ulong Asked { get; private set; }

    /// <summary>The machine is the target's: what nobody has asked for is sent, too. Any thread.</summary>
    internal void GoOn() => _moved.TrySetResult();

    /// <summary>Answers until all pages are in place there.</summary>
    /// <exception cref="IOException">The connection is broken.</exception>
    internal async Task RunAsync(CancellationToken cancel)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task hearing = HearAsync(end.Token), sending = SendAsync(end.Token);
        try
        {
            // What ends the one ends the other; all is in place when the target says so.
            await (await Task.WhenAny(hearing, sending).ConfigureAwait(false)).ConfigureAwait(false);
            await hearing.ConfigureAwait(false);
        }
        finally
        {
            await end.CancelAsync().ConfigureAwait(false);
        }
    }

    private async Task HearAsync(CancellationToken cancel)
    {
        while (true)
        {
            Frame frame = await stream.ReceiveAsync(cancel).ConfigureAwait(false);
            if (frame.Kind == FrameKind.Reached)
                return;
            if (frame.Kind != FrameKind.Request)
                throw new IOException($"the target has sent {frame.Kind} where a request for pages was expected");
            foreach (ulong page in PageRequest.Read(frame.Bytes))
                _ = _asked.Writer.TryWrite(page);
        }
    }

    private async Task SendAsync(CancellationToken cancel)
    {
        IEnumerator<ulong> others = Others().GetEnumerator();
        bool hasMore = true;
        while (hasMore)
        {
            while (_batch.Count < Batch && _asked.Reader.TryRead(out ulong page))
                Take(page, isAsked: true);
            if (_batch.Count == 0 && !_moved.Task.IsCompleted)
            {
                Task<bool> asked = _asked.Reader.WaitToReadAsync(cancel).AsTask();
                _ = await Task.WhenAny(asked, _moved.Task).ConfigureAwait(false);
                cancel.ThrowIfCancellationRequested();
                continue;
            }

            while (_moved.Task.IsCompleted && _batch.Count < Batch && (hasMore = others.MoveNext()))
                Take(others.Current, isAsked: false);
            if (_batch.Count != 0)
                await stream.SendAsync(FrameKind.Pages, _batch.Write(compresses), cancel).ConfigureAwait(false);
            _batch.Clear();
        }

        await stream.SendAsync(FrameKind.Fence, 0, cancel).ConfigureAwait(false);
    }

    private IEnumerable<ulong> Others()
    {
        foreach ((ulong first, ulong count) in pages.Runs())
        {
            for (ulong page = first; page < first + count; page++)
                yield return page;
        }
    }

    private void Take(ulong page, bool isAsked)
    {
        if (!pages.Contains(page) || _sent.Contains(page))
            return;
        _sent.Add(page);
        Interlocked.Decrement(ref _left);
        Asked += isAsked ? 1UL : 0;
        ReadOnlySpan<byte> bytes = memory.UnusedFrom(page * GuestMemory.PageSize, GuestMemory.PageSize) != 0 ? [] : memory.GetStoredPage(page * GuestMemory.PageSize);
        if (bytes.ContainsAnyExcept((byte)0))
            _batch.Add(page, bytes);
        else
            _batch.AddZero(page);
    }
}
