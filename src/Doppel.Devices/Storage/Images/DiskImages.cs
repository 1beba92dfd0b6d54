using System.Buffers.Binary;
using Doppel.Devices.Storage.Nbd;
using Doppel.Devices.Storage.Qcow2;
using Doppel.Devices.Storage.Vhd;
using Doppel.Devices.Storage.Vhdx;
using Doppel.Devices.Storage.Vmdk;

namespace Doppel.Devices.Storage.Images;

/// <summary>Opens images of any format.</summary>
public static class DiskImages
{
    /// <summary>How many images may lie behind each other; more are taken for a circle.</summary>
    public const int MaximumDepth = 64;

    private const int BeginningLength = 512;

    /// <summary>Opens an image.</summary>
    /// <param name="name">Its path, or the address of an NBD server: nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH.</param>
    /// <param name="options">How.</param>
    /// <exception cref="DiskImageException">It can't be opened; the message says why.</exception>
    public static DiskImage Open(string name, DiskOpenOptions options) => Open(name, options, 0);

    /// <summary>The format that a file begins with; null when it is none that has a beginning of its own.</summary>
    /// <param name="beginning">The first sector.</param>
    public static DiskFormat? Recognize(ReadOnlySpan<byte> beginning)
    {
        if (BinaryPrimitives.ReadUInt32BigEndian(beginning) == 0x514649FB)
            return DiskFormat.Qcow2;
        if (beginning.StartsWith("KDMV"u8) || beginning.StartsWith("# Disk DescriptorFile"u8))
            return DiskFormat.Vmdk;
        if (beginning.StartsWith("vhdxfile"u8))
            return DiskFormat.Vhdx;
        return VhdImage.IsFooter(beginning) ? DiskFormat.Vhd : null;
    }

    /// <summary>Creates an image.</summary>
    /// <param name="path">Where; there must be no file.</param>
    /// <param name="options">What it is like.</param>
    /// <exception cref="DiskImageException">An option is wrong, or the host refuses.</exception>
    public static void Create(string path, DiskCreateOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        bool isQcow2 = options.Format == DiskFormat.Qcow2;
        if (!isQcow2 && (options.Backing is not null || options.ClusterSize is not null || options.Version is not null || options.HasLazyRefcounts || options.Compression != Qcow2Compression.Deflate))
            throw new DiskImageException($"{path}: images of the format {options.Format.GetName()} have no backing image, cluster size, version, compression or lazy counts; qcow2 has");
        if (options.IsReserved && options.Format != DiskFormat.Raw)
            throw new DiskImageException($"{path}: only raw images can reserve their space");
        ulong? length = options.Length;
        DiskFormat? backingFormat = options.BackingFormat;
        if (options.Backing is not null)
        {
            using DiskImage backing = Open(options.Backing, new DiskOpenOptions { Format = options.BackingFormat, IsReadOnly = true });
            (length, backingFormat) = (length ?? backing.Length, backing.Format);
        }

        if (length is not ulong bytes)
            throw new DiskImageException($"{path}: a new image needs a size or a backing image");
        switch (options.Format)
        {
            case DiskFormat.Raw:
                RawImage.Create(path, bytes, options.IsReserved);
                break;
            case DiskFormat.Qcow2:
                Qcow2Image.Create(path, new Qcow2Options
                {
                    Length = bytes,
                    ClusterSize = options.ClusterSize ?? 65536,
                    Version = options.Version ?? 3,
                    Compression = options.Compression,
                    HasLazyRefcounts = options.HasLazyRefcounts,
                    BackingName = options.Backing is null ? null : Overlays.NameBacking(path, options.Backing),
                    BackingFormat = backingFormat?.GetName(),
                });
                break;
            default:
                throw new DiskImageException($"{path}: images of the format {options.Format.GetName()} can't be made; raw and qcow2 can");
        }
    }

    /// <summary>Opens an image that lies a number of images behind the one that was asked for.</summary>
    internal static DiskImage Open(string name, DiskOpenOptions options, int depth)
    {
        if (depth > MaximumDepth)
            throw new DiskImageException($"{name}: more than {MaximumDepth} images lie behind each other; they may form a circle");
        if (Overlays.IsAddress(name))
            return NbdImage.Open(name, options.IsReadOnly);
        ImageFile file = ImageFile.Open(name, options.IsReadOnly, options.IsShared);
        try
        {
            DiskFormat? format = options.Format ?? Recognize(file.Read(0, BeginningLength)) ?? RecognizeByEnd(file);
            return format switch
            {
                DiskFormat.Qcow2 => Qcow2Image.Open(file, options, depth),
                DiskFormat.Vmdk => VmdkImage.Open(file, options),
                DiskFormat.Vhd => VhdImage.Open(file, options),
                DiskFormat.Vhdx => VhdxImage.Open(file, options),
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

    /// <summary>A fixed VHD image has only a footer, which a raw disk may have by chance; so its name must say so, too.</summary>
    private static DiskFormat? RecognizeByEnd(ImageFile file)
    {
        bool isNamedSo = Path.GetExtension(file.Path).ToLowerInvariant() is ".vhd" or ".vpc";
        return isNamedSo && file.Length >= BeginningLength && VhdImage.IsFooter(file.Read(file.Length - BeginningLength, BeginningLength)) ? DiskFormat.Vhd : null;
    }
}
