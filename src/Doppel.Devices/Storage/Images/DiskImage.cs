namespace Doppel.Devices.Storage.Images;

/// <summary>
/// An open image of a disk. Unlike an <see cref="IBlockBackend"/> its operations block; <see cref="ImageBackend"/> makes
/// one of the other. All members may be called by any thread, except <see cref="Dispose()"/>, which nothing may overlap.
/// <para>
/// Offsets and lengths are bytes of the guest's disk, any number of them (no sectors), inside <see cref="Length"/>. The
/// rules of order and errors are those of <see cref="IBlockBackend"/>.
/// </para>
/// </summary>
public abstract class DiskImage : IDisposable
{
    /// <summary>Creates an image.</summary>
    /// <param name="name">What messages call it: its path, or its address.</param>
    /// <param name="isReadOnly">True when it can't be written.</param>
    protected DiskImage(string name, bool isReadOnly)
    {
        Name = name;
        IsReadOnly = isReadOnly;
    }

    /// <summary>What messages call it: its path, or its address.</summary>
    public string Name { get; }

    /// <summary>True when it can't be written.</summary>
    public bool IsReadOnly { get; }

    /// <summary>The format.</summary>
    public abstract DiskFormat Format { get; }

    /// <summary>Bytes of the guest's disk.</summary>
    public abstract ulong Length { get; }

    /// <summary>The image that has what this one lacks; null for none.</summary>
    public virtual DiskImage? Backing => null;

    /// <summary>Bytes of the unit in which writes are cheapest: a power of two.</summary>
    public virtual int PreferredBlockSize => 4096;

    /// <summary>Bytes of the unit that can be discarded: a power of two, or 0.</summary>
    public virtual int DiscardGranularity => 0;

    /// <summary>Fills buffers.</summary>
    /// <exception cref="IOException">The medium refuses, or the image is damaged.</exception>
    public abstract void Read(ulong offset, BufferList buffers);

    /// <summary>Fills buffers if that takes no waiting: neither for the medium nor for another operation.</summary>
    /// <returns>False when the blocking one must be used.</returns>
    public virtual bool TryReadNow(ulong offset, BufferList buffers) => false;

    /// <summary>Writes buffers.</summary>
    /// <exception cref="StorageFullException">The host has no room.</exception>
    /// <exception cref="IOException">The medium refuses, or the image is read-only or damaged.</exception>
    public virtual void Write(ulong offset, BufferList buffers) => throw NotWritable();

    /// <summary>
    /// Writes buffers if that is only a copy to the host's page cache and takes no waiting for another operation. The kernel may
    /// wait all the same, when too much of the page cache waits to be written.
    /// </summary>
    /// <returns>False when the blocking one must be used; nothing was written then.</returns>
    /// <exception cref="StorageFullException">The host has no room.</exception>
    /// <exception cref="IOException">The medium refuses, or the image is read-only or damaged.</exception>
    public virtual bool TryWriteNow(ulong offset, BufferList buffers) => false;

    /// <summary>Makes completed writes survive a loss of power.</summary>
    public virtual void Flush()
    {
    }

    /// <summary>Says that a range isn't needed.</summary>
    public virtual void Discard(ulong offset, ulong length)
    {
    }

    /// <summary>Makes a range read as zeros.</summary>
    public virtual void WriteZeroes(ulong offset, ulong length, bool mayFree)
    {
        byte[] zeros = new byte[(int)Math.Min(length, 1 << 20)];
        for (ulong done = 0; done < length;)
        {
            int part = (int)Math.Min(length - done, (ulong)zeros.Length);
            Write(offset + done, new BufferList(zeros.AsMemory(0, part)));
            done += (ulong)part;
        }
    }

    /// <summary>Says where the bytes from an offset on come from.</summary>
    /// <param name="offset">Inside the disk.</param>
    /// <param name="length">At most so many bytes.</param>
    public abstract ImageExtent GetExtent(ulong offset, ulong length);

    /// <summary>Changes the length; what is added reads as zeros. Nothing else may be under way.</summary>
    /// <exception cref="DiskImageException">The format can't.</exception>
    public virtual void Resize(ulong length) => throw new DiskImageException($"{Name}: images of the format {Format.GetName()} can't be resized; raw and qcow2 can");

    /// <summary>Closes the image. What was not flushed may be lost only if the host then fails.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Reads one buffer.</summary>
    public void Read(ulong offset, Memory<byte> buffer) => Read(offset, new BufferList(buffer));

    /// <summary>Writes one buffer.</summary>
    public void Write(ulong offset, ReadOnlyMemory<byte> buffer) => Write(offset, BufferList.ForWriting(buffer));

    /// <summary>Closes the image.</summary>
    protected abstract void Dispose(bool disposing);

    /// <summary>The error of a write to an image that can't be written.</summary>
    protected IOException NotWritable() => new($"{Name}: the image is read-only");
}
