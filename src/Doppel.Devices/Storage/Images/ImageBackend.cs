namespace Doppel.Devices.Storage.Images;

/// <summary>
/// What a disk device uses of an image: its blocking operations on threads of their own. A read that the page cache can
/// answer is done on the caller's thread, which is sooner than waking another.
/// </summary>
public sealed class ImageBackend : IBlockBackend
{
    /// <summary>Reads up to this length may be answered at once; longer ones would keep the caller copying.</summary>
    private const long InlineLimit = 64 * 1024;

    private readonly DiskImage _image;
    private readonly IoThreads _threads;

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
        if (list.Length <= InlineLimit && _image.TryReadNow(offset, list))
            return ValueTask.CompletedTask;
        return _threads.Run(() => _image.Read(offset, list), cancel);
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(ulong offset, IReadOnlyList<ReadOnlyMemory<byte>> buffers, CancellationToken cancel = default)
    {
        BufferList list = BufferList.ForWriting(buffers);
        Check(offset, (ulong)list.Length);
        return _threads.Run(() => _image.Write(offset, list), cancel);
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancel = default) =>
        IsReadOnly ? ValueTask.CompletedTask : _threads.Run(_image.Flush, cancel);

    /// <inheritdoc/>
    public ValueTask DiscardAsync(ulong offset, ulong length, CancellationToken cancel = default)
    {
        Check(offset, length);
        return _threads.Run(() => _image.Discard(offset, length), cancel);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(ulong offset, ulong length, bool mayFree, CancellationToken cancel = default)
    {
        Check(offset, length);
        return _threads.Run(() => _image.WriteZeroes(offset, length, mayFree), cancel);
    }

    /// <summary>Changes the length while no operation is under way.</summary>
    /// <exception cref="DiskImageException">The format can't.</exception>
    public async ValueTask ResizeAsync(ulong length)
    {
        await _threads.Run(() => _image.Resize(length), CancellationToken.None).ConfigureAwait(false);
        Resized?.Invoke();
    }

    /// <summary>Waits for what is under way, and closes the image.</summary>
    public async ValueTask DisposeAsync()
    {
        await _threads.StopAsync().ConfigureAwait(false);
        _image.Dispose();
    }

    private void Check(ulong offset, ulong length)
    {
        if ((offset | length) % IBlockBackend.SectorSize != 0 || offset > Length || length > Length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), $"{length} bytes at {offset} are not whole sectors inside the {Length} bytes of {_image.Name}");
    }
}
