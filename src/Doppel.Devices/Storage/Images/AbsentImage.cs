namespace Doppel.Devices.Storage.Images;

/// <summary>Stands for an image that another process has open: what a machine may know of its disk, and none of its bytes.</summary>
/// <param name="name">What messages call it.</param>
/// <param name="format">Its format.</param>
/// <param name="length">Bytes of the guest's disk.</param>
/// <param name="isReadOnly">True when it can't be written.</param>
/// <param name="preferredBlockSize">As <see cref="DiskImage.PreferredBlockSize"/>.</param>
/// <param name="discardGranularity">As <see cref="DiskImage.DiscardGranularity"/>.</param>
public sealed class AbsentImage(string name, DiskFormat format, ulong length, bool isReadOnly, int preferredBlockSize, int discardGranularity) : DiskImage(name, isReadOnly)
{
    /// <summary>Stands for an image that is about to be closed.</summary>
    public AbsentImage(DiskImage image)
        : this(image.Name, image.Format, image.Length, image.IsReadOnly, image.PreferredBlockSize, image.DiscardGranularity)
    {
    }

    /// <inheritdoc/>
    public override DiskFormat Format => format;

    /// <inheritdoc/>
    public override ulong Length => length;

    /// <inheritdoc/>
    public override int PreferredBlockSize => preferredBlockSize;

    /// <inheritdoc/>
    public override int DiscardGranularity => discardGranularity;

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers) => throw Absent();

    /// <inheritdoc/>
    public override void Write(ulong offset, BufferList buffers) => throw Absent();

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length) => throw Absent();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
    }

    private IOException Absent() => new($"{Name}: the image is open elsewhere");
}
