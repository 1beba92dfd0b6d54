using System.Diagnostics;

namespace Doppel.Devices.Storage.Images;

/// <summary>
/// What a disk device uses of an image: its blocking operations on threads of their own. What only copies from or to the
/// host's page cache is done on the caller's thread as far as <see cref="DirectTransfers"/> allows. A flush after which
/// nothing was changed does nothing.
/// </summary>
public sealed class ImageBackend : IBlockBackend
{
    private volatile DiskImage _image;
    private volatile DirtyBlocks? _tracked;
    private volatile BlockLimiter? _limiter;
    private readonly IoThreads _threads;
    private readonly DirectTransfers _direct = new();
    private int _flushes;
    private bool _isChanged = true;

    /// <summary>Takes over an image.</summary>
    /// <param name="image">The image; disposed with the back end.</param>
    /// <param name="threads">How many operations may wait for the medium at a time.</param>
    public ImageBackend(DiskImage image, int threads = 8)
    {
        ArgumentNullException.ThrowIfNull(image);
        _image = image;
        _threads = new IoThreads("disk", threads);
    }

    /// <inheritdoc/>
    public event Action? Resized;

    /// <summary>Is told of each change when it is done; null for nobody. What is under way when it is set may be missed or not.</summary>
    public DirtyBlocks? Tracked
    {
        get => _tracked;
        set => _tracked = value;
    }

    /// <inheritdoc/>
    public ulong Length => _image.Length;

    /// <inheritdoc/>
    public bool IsReadOnly => _image.IsReadOnly;

    /// <inheritdoc/>
    public int PreferredBlockSize => _image.PreferredBlockSize;

    /// <inheritdoc/>
    public int DiscardGranularity => IsReadOnly ? 0 : _image.DiscardGranularity;

    /// <inheritdoc/>
    public ValueTask ReadAsync(ulong offset, IReadOnlyList<Memory<byte>> buffers, CancellationToken cancel = default)
    {
        var list = new BufferList(buffers);
        Check(offset, (ulong)list.Length);
        return _limiter is null ? ReadNow(offset, list, cancel) : ReadLimited(_limiter, offset, list, cancel);
    }

    private ValueTask ReadNow(ulong offset, BufferList list, CancellationToken cancel)
    {
        long began = Stopwatch.GetTimestamp();
        if (_direct.MayRead(list.Length) && _image.TryReadNow(offset, list))
        {
            _direct.Note(list.Length, began, isWrite: false);
            return ValueTask.CompletedTask;
        }

        return ReadLater(offset, list, cancel);
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(ulong offset, IReadOnlyList<ReadOnlyMemory<byte>> buffers, CancellationToken cancel = default)
    {
        BufferList list = BufferList.ForWriting(buffers);
        Check(offset, (ulong)list.Length);
        return _limiter is null ? WriteNow(offset, list, cancel) : WriteLimited(_limiter, offset, list, cancel);
    }

    private ValueTask WriteNow(ulong offset, BufferList list, CancellationToken cancel)
    {
        try
        {
            // A write beside a flush waits for it.
            long began = Stopwatch.GetTimestamp();
            if (Volatile.Read(ref _flushes) == 0 && _direct.MayWrite(list.Length) && _image.TryWriteNow(offset, list))
            {
                Volatile.Write(ref _isChanged, true);
                _tracked?.Add(offset, (ulong)list.Length);
                _direct.Note(list.Length, began, isWrite: true);
                return ValueTask.CompletedTask;
            }
        }
        catch (IOException e)
        {
            return ValueTask.FromException(e);
        }

        return WriteLater(offset, list, cancel);
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancel = default)
    {
        // Every change says so before it completes, and so does a flush that fails.
        if (IsReadOnly || (Volatile.Read(ref _flushes) == 0 && !Volatile.Read(ref _isChanged)))
            return ValueTask.CompletedTask;
        _ = Interlocked.Increment(ref _flushes);
        _direct.EnterBackground();
        return _threads.Run(Flush, LeaveFlush, cancel);
    }

    /// <inheritdoc/>
    public ValueTask DiscardAsync(ulong offset, ulong length, CancellationToken cancel = default)
    {
        Check(offset, length);
        return Limited(() => Change(offset, length, () => _image.Discard(offset, length), cancel), cancel);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(ulong offset, ulong length, bool mayFree, CancellationToken cancel = default)
    {
        Check(offset, length);
        return Limited(() => Change(offset, length, () => _image.WriteZeroes(offset, length, mayFree), cancel), cancel);
    }

    /// <summary>Limits what operations may do in a second; 0 for no limit, which costs nothing. Any thread.</summary>
    /// <param name="bytesPerSecond">Bytes that are read or written.</param>
    /// <param name="operationsPerSecond">Operations, but for flushes.</param>
    public void Limit(ulong bytesPerSecond, int operationsPerSecond)
    {
        if (_limiter is null && bytesPerSecond == 0 && operationsPerSecond == 0)
            return;
        BlockLimiter limiter = _limiter ?? new BlockLimiter();
        limiter.Set(bytesPerSecond, operationsPerSecond);
        _limiter = limiter;
    }

    /// <summary>Lets operations go on at once that wait for a limit, since somebody waits for their end.</summary>
    public void Hurry() => _limiter?.Hurry();

    /// <summary>Changes the length while no operation is under way.</summary>
    /// <exception cref="DiskImageException">The format can't.</exception>
    public async ValueTask ResizeAsync(ulong length)
    {
        await Change(0, 0, () => _image.Resize(length), CancellationToken.None).ConfigureAwait(false);
        Resized?.Invoke();
    }

    /// <summary>Goes on with another image of the same disk. No operation is under way or begins meanwhile.</summary>
    /// <param name="image">The image, which belongs to the back end from now on.</param>
    /// <returns>The one before, which is the caller's.</returns>
    public DiskImage Exchange(DiskImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        if (image.Length != _image.Length || image.IsReadOnly != _image.IsReadOnly)
            throw new DiskImageException($"{image.Name}: the disk has {image.Length} bytes{(image.IsReadOnly ? " and can't be written" : "")}; the one that the machine has had {_image.Length}{(_image.IsReadOnly ? " and couldn't" : "")}");
        DiskImage before = _image;
        _image = image;
        Volatile.Write(ref _isChanged, true);
        return before;
    }

    /// <summary>Waits for what is under way, and closes the image.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_limiter is BlockLimiter limiter)
            await limiter.DisposeAsync().ConfigureAwait(false);
        await _threads.StopAsync().ConfigureAwait(false);
        _image.Dispose();
    }

    private ValueTask ReadLimited(BlockLimiter limiter, ulong offset, BufferList list, CancellationToken cancel)
    {
        TimeSpan wait = limiter.Take(list.Length);
        return wait == TimeSpan.Zero ? ReadNow(offset, list, cancel) : limiter.LaterAsync(wait, () => ReadNow(offset, list, cancel), cancel);
    }

    private ValueTask WriteLimited(BlockLimiter limiter, ulong offset, BufferList list, CancellationToken cancel)
    {
        TimeSpan wait = limiter.Take(list.Length);
        return wait == TimeSpan.Zero ? WriteNow(offset, list, cancel) : limiter.LaterAsync(wait, () => WriteNow(offset, list, cancel), cancel);
    }

    private ValueTask Limited(Func<ValueTask> begin, CancellationToken cancel) =>
        _limiter is BlockLimiter limiter && limiter.Take(0) is TimeSpan wait && wait != TimeSpan.Zero ? limiter.LaterAsync(wait, begin, cancel) : begin();

    // Methods of their own, so that what is done at once makes no closure.
    private ValueTask ReadLater(ulong offset, BufferList list, CancellationToken cancel) => InBackground(() => _image.Read(offset, list), cancel);

    private ValueTask WriteLater(ulong offset, BufferList list, CancellationToken cancel) => Change(offset, (ulong)list.Length, () => _image.Write(offset, list), cancel);

    private void Flush()
    {
        Volatile.Write(ref _isChanged, false);
        // A change that completes from here on is not part of it.
        Interlocked.MemoryBarrier();
        try
        {
            _image.Flush();
        }
        catch
        {
            Volatile.Write(ref _isChanged, true);
            throw;
        }
    }

    private void LeaveFlush()
    {
        _ = Interlocked.Decrement(ref _flushes);
        _direct.LeaveBackground();
    }

    private ValueTask Change(ulong offset, ulong length, Action change, CancellationToken cancel) => InBackground(
        () =>
        {
            try
            {
                change();
            }
            finally
            {
                Volatile.Write(ref _isChanged, true);
                _tracked?.Add(offset, length);
            }
        },
        cancel);

    private ValueTask InBackground(Action action, CancellationToken cancel)
    {
        _direct.EnterBackground();
        return _threads.Run(action, _direct.LeaveBackground, cancel);
    }

    private void Check(ulong offset, ulong length)
    {
        if ((offset | length) % IBlockBackend.SectorSize != 0 || offset > Length || length > Length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), $"{length} bytes at {offset} are not whole sectors inside the {Length} bytes of {_image.Name}");
    }
}
