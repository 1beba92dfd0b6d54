using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Vmdk;

/// <summary>
/// A VMDK image for reading: sparse, stream-optimised or flat, in one file or several (VMware, "Virtual Disk Format 5.0").
/// </summary>
public sealed partial class VmdkImage : ReadOnlyImage
{
    private const int MaximumDescriptor = 1 << 20;
    private readonly List<Extent> _extents;

    private VmdkImage(string name, List<Extent> extents)
        : base(name, extents.Count == 0 ? 0 : extents[^1].End) => _extents = extents;

    /// <inheritdoc/>
    public override DiskFormat Format => DiskFormat.Vmdk;

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file: the descriptor, or the only extent; disposed with the image.</param>
    /// <param name="options">How; only for reading.</param>
    /// <exception cref="DiskImageException">It is no such image, or of a kind that isn't supported.</exception>
    public static VmdkImage Open(ImageFile file, DiskOpenOptions options)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        RefuseWriting(file.Path, DiskFormat.Vmdk, options);
        if (IsSparse(file))
        {
            var only = new VmdkSparseExtent(file);
            if (only.DescriptorOffset != 0)
                CheckParent(file.Path, Text(file.Read(only.DescriptorOffset, (int)only.DescriptorLength)));
            return new VmdkImage(file.Path, [new Extent(0, only.Capacity, only, null, 0)]);
        }

        if (file.Length > MaximumDescriptor)
            throw new DiskImageException($"{file.Path}: is no VMDK image: neither a sparse extent nor a descriptor");
        string descriptor = Text(file.Read(0, (int)file.Length));
        CheckParent(file.Path, descriptor);
        List<Extent> extents = OpenExtents(file.Path, descriptor, options);
        file.Dispose();
        return new VmdkImage(file.Path, extents);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => Close(_extents);

    private protected override ImagePlace Locate(ulong offset, ulong length, bool isData)
    {
        foreach (Extent extent in _extents)
        {
            if (offset >= extent.End)
                continue;
            length = Math.Min(length, extent.End - offset);
            if (extent.Sparse is not null)
                return extent.Sparse.Locate(offset - extent.Start, length, isData);
            return extent.Flat is null ? new ImagePlace(null, 0, length) : new ImagePlace(extent.Flat, extent.FlatOffset + offset - extent.Start, length);
        }

        return new ImagePlace(null, 0, length);
    }

    private static bool IsSparse(ImageFile file) => file.Read(0, 4).AsSpan().SequenceEqual("KDMV"u8);

    private static string Text(byte[] bytes) => Encoding.UTF8.GetString(bytes).TrimEnd('\0');

    private static void CheckParent(string path, string descriptor)
    {
        Match parent = ParentLine().Match(descriptor);
        if (parent.Success && !parent.Groups[1].ValueSpan.Equals("ffffffff", StringComparison.OrdinalIgnoreCase))
            throw new DiskImageException($"{path}: the VMDK image is a difference to another, which isn't supported; consolidating it first would be right");
    }

    private static List<Extent> OpenExtents(string path, string descriptor, DiskOpenOptions options)
    {
        var extents = new List<Extent>();
        try
        {
            ulong start = 0;
            foreach (Match line in ExtentLine().Matches(descriptor))
            {
                ulong end = start + (ulong.Parse(line.Groups["sectors"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture) * IBlockBackend.SectorSize);
                string kind = line.Groups["kind"].Value, name = line.Groups["file"].Value;
                extents.Add(kind == "ZERO" ? new Extent(start, end, null, null, 0) : OpenExtent(path, name, kind, line.Groups["offset"].Value, start, end, options));
                start = end;
            }

            if (extents.Count == 0)
                throw new DiskImageException($"{path}: is no VMDK image: its descriptor names no extent");
            return extents;
        }
        catch
        {
            Close(extents);
            throw;
        }
    }

    private static Extent OpenExtent(string path, string name, string kind, string offset, ulong start, ulong end, DiskOpenOptions options)
    {
        // Anything else could show a guest whatever file of the host's the image's maker likes.
        if (name.Length == 0 || name.Contains('/', StringComparison.Ordinal) || name is "." or "..")
            throw new DiskImageException($"{path}: an extent is said to be in \"{name}\"; a file's name without a directory would be right");
        if (kind is not ("FLAT" or "VMFS" or "SPARSE"))
            throw new DiskImageException($"{path}: extents of the kind {kind} aren't supported; FLAT, VMFS, SPARSE and ZERO are");
        ImageFile file = ImageFile.Open(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, name), isReadOnly: true, options.IsShared);
        try
        {
            if (kind != "SPARSE")
                return new Extent(start, end, null, file, offset.Length == 0 ? 0 : ulong.Parse(offset, CultureInfo.InvariantCulture) * IBlockBackend.SectorSize);
            if (!IsSparse(file))
                throw new DiskImageException($"{file.Path}: is no sparse extent of a VMDK image");
            return new Extent(start, end, new VmdkSparseExtent(file), null, 0);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static void Close(List<Extent> extents)
    {
        foreach (Extent extent in extents)
        {
            extent.Sparse?.Dispose();
            extent.Flat?.Dispose();
        }
    }

    [GeneratedRegex("""^\s*parentCID\s*=\s*([0-9a-fA-F]+)""", RegexOptions.Multiline)]
    private static partial Regex ParentLine();

    [GeneratedRegex("""^(?:RW|RDONLY|NOACCESS)\s+(?<sectors>[0-9]{1,15})\s+(?<kind>[A-Z]+)(?:\s+"(?<file>[^"]*)"(?:\s+(?<offset>[0-9]{1,15}))?)?""", RegexOptions.Multiline)]
    private static partial Regex ExtentLine();

    /// <summary>A part of the disk: sparse, flat, or neither, which is zeros.</summary>
    private sealed record Extent(ulong Start, ulong End, VmdkSparseExtent? Sparse, ImageFile? Flat, ulong FlatOffset);
}
