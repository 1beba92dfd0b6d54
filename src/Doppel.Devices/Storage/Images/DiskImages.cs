using System.Buffers.Binary;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Storage.Images;

/// <summary>Opens images of any format.</summary>
public static class DiskImages
{
    /// <summary>How many images may lie behind each other; more are taken for a circle.</summary>
    public const int MaximumDepth = 64;

    private const int BeginningLength = 512;

    /// <summary>Opens an image.</summary>
    /// <param name="name">Its path.</param>
    /// <param name="options">How.</param>
    /// <exception cref="DiskImageException">It can't be opened; the message says why.</exception>
    public static DiskImage Open(string name, DiskOpenOptions options) => Open(name, options, 0);

    /// <summary>The format that a file begins with; null when it is none that has a beginning of its own.</summary>
    /// <param name="beginning">The first sector.</param>
    public static DiskFormat? Recognize(ReadOnlySpan<byte> beginning)
    {
        if (BinaryPrimitives.ReadUInt32BigEndian(beginning) == 0x514649FB)
            return DiskFormat.Qcow2;
        return null;
    }

    /// <summary>Opens an image that lies a number of images behind the one that was asked for.</summary>
    internal static DiskImage Open(string name, DiskOpenOptions options, int depth)
    {
        if (depth > MaximumDepth)
            throw new DiskImageException($"{name}: more than {MaximumDepth} images lie behind each other; they may form a circle");
        ImageFile file = ImageFile.Open(name, options.IsReadOnly, options.IsShared);
        try
        {
            DiskFormat? format = options.Format ?? Recognize(file.Read(0, BeginningLength));
            return format switch
            {
                DiskFormat.Qcow2 => Qcow2Image.Open(file, options, depth),
                DiskFormat.Raw or null => new RawImage(file, isGuessed: format is null),
                _ => throw new DiskImageException($"{name}: the format {format.Value.GetName()} can't be opened"),
            };
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
