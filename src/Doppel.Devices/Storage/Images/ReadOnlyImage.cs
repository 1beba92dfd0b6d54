namespace Doppel.Devices.Storage.Images;

/// <summary>Where bytes of a disk lie that follow each other.</summary>
/// <param name="File">The file that has them; null when they are zeros, or in <paramref name="Bytes"/>.</param>
/// <param name="Offset">The first byte's place in the file, or in the bytes.</param>
/// <param name="Length">How many they are; at least 1.</param>
/// <param name="Bytes">The bytes themselves, when they had to be decompressed.</param>
internal readonly record struct ImagePlace(ImageFile? File, ulong Offset, ulong Length, byte[]? Bytes = null);

/// <summary>An image of a format that is read but not written: a format says where the bytes lie.</summary>
/// <param name="name">What messages call it.</param>
/// <param name="length">Bytes of the disk.</param>
public abstract class ReadOnlyImage(string name, ulong length) : DiskImage(name, isReadOnly: true)
{
    /// <inheritdoc/>
    public override ulong Length { get; } = (length + IBlockBackend.SectorSize - 1) & ~(ulong)(IBlockBackend.SectorSize - 1);

    /// <inheritdoc/>
    public override void Read(ulong offset, BufferList buffers)
    {
        try
        {
            for (long done = 0; done < buffers.Length;)
            {
                ImagePlace place = Locate(offset + (ulong)done, (ulong)(buffers.Length - done), isData: true);
                BufferList part = buffers.Slice(done, (long)place.Length);
                if (place.Bytes is not null)
                    part.CopyFrom(place.Bytes.AsSpan((int)place.Offset));
                else if (place.File is not null)
                    place.File.Read(place.Offset, part);
                else
                    part.Clear();
                done += part.Length;
            }
        }
        catch (ImageDamageException e)
        {
            throw new IOException($"{Name}: the image is damaged: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public override ImageExtent GetExtent(ulong offset, ulong length)
    {
        ImagePlace place = Locate(offset, Math.Min(length, Length - offset), isData: false);
        return new ImageExtent(place.File is null && place.Bytes is null ? ExtentKind.Zero : ExtentKind.Data, place.Length);
    }

    /// <summary>Finds bytes. Any thread.</summary>
    /// <param name="offset">The first.</param>
    /// <param name="length">At most so many.</param>
    /// <param name="isData">False when compressed bytes need not be decompressed.</param>
    /// <exception cref="ImageDamageException">The image contradicts itself.</exception>
    private protected abstract ImagePlace Locate(ulong offset, ulong length, bool isData);

    /// <summary>The error of an image that isn't supported: only read, not written.</summary>
    internal static void RefuseWriting(string name, DiskFormat format, DiskOpenOptions options)
    {
        if (!options.IsReadOnly)
            throw new DiskImageException($"{name}: images of the format {format.GetName()} can only be read; \"doppel disk convert\" makes a qcow2 image of it, and with \"ro\", \"ephemeral\" or an overlay a machine can use it");
    }
}
