namespace Doppel.Devices.Storage.Images;

/// <summary>What a drive without a medium has: no bytes.</summary>
public sealed class EmptyImage() : DiskImage("an empty drive", isReadOnly: true)
{
    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Raw;

    /// <inheritdoc/>
    public override ulong Length => 0;

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers) => throw new IOException("there is no medium in the drive");

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length) => throw new IOException("there is no medium in the drive");

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
    }
}
