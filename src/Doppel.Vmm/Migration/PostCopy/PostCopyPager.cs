using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using Doppel.Host.Events;
using Doppel.Host.Memory;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration.PostCopy;

/// <summary>The memory whose pages a pager brings.</summary>
/// <param name="Ranges">Where it is.</param>
/// <param name="Runs">The pages, as they go over the wire; all others of the ranges that are touched are zeros.</param>
public sealed record PagedMemory(IReadOnlyList<LateRange> Ranges, byte[] Runs)
{
    /// <summary>Pages of a memory.</summary>
    public static PagedMemory Of(IReadOnlyList<LateRange> ranges, PageSet pages) => new(ranges, PageRuns.Write(pages));
}

/// <summary>
/// The pager's process: asks the source for the pages that the machine in another process waits for, and places them and all others
/// that come. docs/migration.md has the protocol.
/// </summary>
/// <param name="listener">Where the source connects; not disposed here.</param>
/// <param name="faults">The machine's process's.</param>
public sealed class PostCopyPager(MigrationListener listener, PageFaultDescriptor faults)
{
    private static readonly byte[] Zeros = new byte[GuestMemory.PageSize];
    private readonly Channel<ulong> _wanted = Channel.CreateUnbounded<ulong>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Lock _lock = new();
    private IReadOnlyList<LateRange> _ranges = [];
    private PageSet _missing = new(0);
    private PageSet _asked = new(0);
    private volatile bool _isOver;

    /// <summary>Told of each batch of pages that is in place; for tests. Null for nobody.</summary>
    public Action? Placed { get; init; }

    /// <summary>Waits for the source, then for the memory, and serves it until all pages are in place.</summary>
    /// <param name="memory">The memory.</param>
    /// <param name="begun">Called when the machine may touch its memory.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="IOException">The connection is broken: pages are missing for good.</exception>
    public async Task RunAsync(Task<PagedMemory> memory, Action begun, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(begun);
        await using MigrationStream stream = await AcceptAsync(cancel).ConfigureAwait(false);
        await ServeAsync(stream, memory, begun, cancel).ConfigureAwait(false);
    }

    /// <summary>The same with a source that was let in.</summary>
    internal async Task ServeAsync(MigrationStream stream, Task<PagedMemory> memory, Action begun, CancellationToken cancel)
    {
        PagedMemory paged = await memory.ConfigureAwait(false);
        Take(paged);
        using var lost = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var ended = new EventSignal();
        var watcher = new Thread(() => Watch(ended)) { IsBackground = true, Name = "doppel-page-faults" };
        watcher.Start();
        begun();
        Task asking = AskAsync(stream, lost.Token);
        try
        {
            await ReceiveAsync(stream, lost.Token).ConfigureAwait(false);
            foreach (LateRange range in _ranges)
                faults.Unregister(range.Host, range.Length);
        }
        catch
        {
            await lost.CancelAsync().ConfigureAwait(false);
            throw;
        }
        finally
        {
            _isOver = true;
            ended.Set();
            watcher.Join();
            _wanted.Writer.Complete();
            // A request that is on its way is sent whole: the source would take what follows for the rest of it.
            await asking.ConfigureAwait(false);
        }

        await stream.SendAsync(FrameKind.Reached, 0, cancel).ConfigureAwait(false);
    }

    private async Task<MigrationStream> AcceptAsync(CancellationToken cancel)
    {
        while (true)
        {
            if (await listener.AcceptAsync(cancel).ConfigureAwait(false) is not MigrationStream stream)
                continue;
            try
            {
                JoinRequest request = (await stream.ExpectAsync(FrameKind.Join, cancel).ConfigureAwait(false)).Read(MigrationJson.Default.JoinRequest);
                if (request.Id == listener.Address.Id && request.Ticket is not null && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(request.Ticket), Encoding.UTF8.GetBytes(listener.Address.Ticket)))
                    return stream;
            }
            catch (IOException)
            {
                // Somebody else.
            }

            await stream.DisposeAsync().ConfigureAwait(false);
        }
    }

    private void Take(PagedMemory paged)
    {
        _ranges = paged.Ranges;
        ulong pages = _ranges.Max(range => range.Address + range.Length) / GuestMemory.PageSize;
        _missing = new PageSet(pages);
        _asked = new PageSet(pages);
        PageRuns.Read(paged.Runs, _missing);
    }

    // A thread of its own: what it waits for is no task's.
    private void Watch(EventSignal ended)
    {
        Span<ulong> addresses = stackalloc ulong[64];
        var list = new PollList();
        while (!_isOver)
        {
            list.Clear();
            _ = list.Add(ended.Descriptor, PollEvents.In);
            _ = list.Add(faults.Descriptor, PollEvents.In);
            _ = list.Wait(-1);
            for (int count; (count = faults.Read(addresses)) != 0;)
            {
                foreach (ulong address in addresses[..count])
                    Touched(address);
            }
        }
    }

    private void Touched(ulong host)
    {
        LateRange range = _ranges.FirstOrDefault(range => host >= range.Host && host - range.Host < range.Length);
        if (range.Length == 0)
            return;
        ulong page = (host - range.Host + range.Address) / GuestMemory.PageSize;
        bool isMissing;
        lock (_lock)
        {
            isMissing = _missing.Contains(page);
            if (isMissing)
            {
                if (_asked.Contains(page))
                    return;
                _asked.Add(page);
            }
        }

        // One that has come meanwhile is there already: then whoever waits is only woken.
        if (isMissing)
            _ = _wanted.Writer.TryWrite(page);
        else
            _ = faults.Place(host, Zeros);
    }

    private async Task AskAsync(MigrationStream stream, CancellationToken cancel)
    {
        try
        {
            var pages = new List<ulong>();
            while (await _wanted.Reader.WaitToReadAsync(cancel).ConfigureAwait(false))
            {
                pages.Clear();
                while (pages.Count < PageBatch.MostPages && _wanted.Reader.TryRead(out ulong page))
                    pages.Add(page);
                await stream.SendAsync(FrameKind.Request, PageRequest.Write(pages), cancel).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // Whoever receives learns it, too.
        }
    }

    private async Task ReceiveAsync(MigrationStream stream, CancellationToken cancel)
    {
        byte[] scratch = new byte[PageBatch.MostPages * GuestMemory.PageSize];
        while (true)
        {
            Frame frame = await stream.ReceiveAsync(cancel).ConfigureAwait(false);
            if (frame.Kind == FrameKind.Fence)
                return;
            if (frame.Kind != FrameKind.Pages)
                throw new IOException($"the source has sent {frame.Kind} where pages were expected");
            PageBatch.Read(frame.Bytes, scratch, (page, bytes) =>
            {
                bool isMissing;
                lock (_lock)
                    isMissing = _missing.Contains(page);
                if (!isMissing)
                    throw new IOException($"the source has sent page {page}, which was not missing");
                ulong address = page * GuestMemory.PageSize;
                LateRange range = _ranges.First(range => address >= range.Address && address - range.Address < range.Length);
                _ = faults.Place(address - range.Address + range.Host, bytes.IsEmpty ? Zeros : bytes);
            });
            Placed?.Invoke();
        }
    }
}
