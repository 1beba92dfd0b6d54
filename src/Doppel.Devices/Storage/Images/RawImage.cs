namespace Doppel.Devices.Storage.Images;

/// <summary>
/// A file or block device whose bytes are the disk's. Sparse: what was never written, or discarded, takes no space. A file
/// whose length is no multiple of a sector reads as zeros in the rest of its last sector.
/// </summary>
public sealed class RawImage : DiskImage
{
    private readonly ImageFile _file;
    private readonly bool _isGuessed;
    private ulong _length;

    /// <summary>Takes over an open file.</summary>
    /// <param name="file">The file; disposed with the image.</param>
    /// <param name="isGuessed">
    /// True when the format is raw only because the file's beginning looked like no other. A guest that could write the
    /// beginning of another format could then have the next run read any file of the host's as its backing image, so
    /// such a write is refused.
    /// </param>
    public RawImage(ImageFile file, bool isGuessed = false)
        : base(File(file).Path, file.IsReadOnly)
    {
        _file = file;
        _isGuessed = isGuessed;
        _length = RoundUp(file.Length);
    }

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Raw;

    /// <inheritdoc/>
    public override ulong Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override int DiscardGranularity => 4096;

    /// <summary>Creates a sparse file.</summary>
    /// <param name="path">Where.</param>
    /// <param name="length">Bytes of the disk; rounded up to a sector.</param>
    /// <param name="isReserved">True to reserve all its space at once.</param>
    public static void Create(string path, ulong length, bool isReserved)
    {
        length = RoundUp(length);
        using ImageFile file = ImageFile.Create(path);
        try
        {
            if (isReserved && length > 0 && !file.TryReserve(0, length))
                throw new DiskImageException($"{path}: the file system can't reserve space; a sparse image would be right");
            file.SetLength(length);
        }
        catch
        {
            System.IO.File.Delete(path);
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers) => _file.Read(offset, buffers);

    /// <inheritdoc/>
    public override bool TryReadNow(ulong offset, BufferList buffers) => _file.TryReadCached(offset, buffers);

    /// <inheritdoc/>
    public override void Write(ulong offset, BufferList buffers)
    {
        if (IsReadOnly)
            throw NotWritable();
        if (_isGuessed && offset < IBlockBackend.SectorSize)
            buffers = CheckBeginning(offset, buffers);
        _file.Write(offset, buffers);
    }

    /// <inheritdoc/>
    public override bool TryWriteNow(ulong offset, BufferList buffers)
    {
        // A part of a page is read from the medium first.
        if (IsReadOnly || (offset | (ulong)buffers.Length) % ImageFile.PageSize != 0 || (_isGuessed && offset == 0))
            return false;
        _file.Write(offset, buffers);
        return true;
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!IsReadOnly)
            _file.Sync();
    }

    /// <inheritdoc/>
    public override void Discard(ulong offset, ulong length)
    {
        if (IsReadOnly)
            throw NotWritable();
        if (length > 0)
            _ = _file.TryPunchHole(offset, length);
    }

    /// <inheritdoc/>
    public override void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        if (IsReadOnly)
            throw NotWritable();
        if (length == 0)
            return;
        if (!(mayFree && _file.TryPunchHole(offset, length)) && !_file.TryZero(offset, length))
            base.WriteZeroes(offset, length, mayFree);
    }

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length) => _file.GetExtent(offset, Math.Min(length, Length - offset));

    /// <inheritdoc/>
    public override void Resize(ulong length)
    {
        if (IsReadOnly)
            throw NotWritable();
        length = RoundUp(length);
        _file.SetLength(length);
        _file.Sync();
        Volatile.Write(ref _length, length);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _file.Dispose();

    private static ImageFile File(ImageFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file;
    }

    private static ulong RoundUp(ulong length) => (length + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1);

    private BufferList CheckBeginning(ulong offset, BufferList buffers)
    {
        // The guest may change its memory between the look and the write.
        int length = (int)Math.Min((ulong)buffers.Length, IBlockBackend.SectorSize - offset);
        byte[] beginning = _file.Read(0, IBlockBackend.SectorSize);
        byte[] written = new byte[length];
        buffers.Slice(0, length).CopyTo(written);
        written.CopyTo(beginning.AsSpan((int)offset));
        if (DiskImages.Recognize(beginning) is DiskFormat format)
            throw new IOException($"{Name}: the guest writes the beginning of a {format.GetName()} image; say that the image's format is raw to allow that");
        return buffers.Slice(length, buffers.Length - length).Surround(written, Memory<byte>.Empty);
    }
}
