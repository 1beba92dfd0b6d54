using System.Runtime.InteropServices;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Display.Gpu;

/// <summary>A picture that a virtio GPU holds for its driver. Rows follow each other without gaps.</summary>
internal sealed class GpuResource
{
    /// <summary>Most columns or rows.</summary>
    internal const int MaximumSide = 8192;

    private readonly uint[] _pixels;

    internal GpuResource(uint id, GpuFormat format, int width, int height)
    {
        (Id, Format, Width, Height) = (id, format, width, height);
        _pixels = new uint[width * height];
    }

    internal uint Id { get; }

    internal GpuFormat Format { get; }

    internal int Width { get; }

    internal int Height { get; }

    /// <summary>The guest's memory from which it is filled; null while there is none.</summary>
    internal GpuBacking? Backing { get; set; }

    internal PixelRectangle Bounds => new(0, 0, Width, Height);

    /// <summary>All pixels, as they lie in the guest's memory.</summary>
    internal Span<byte> Bytes => MemoryMarshal.AsBytes(_pixels.AsSpan());

    /// <summary>Bytes that a resource of a size has.</summary>
    internal static long BytesOf(long width, long height) => width * height * sizeof(uint);

    /// <summary>Copies a part from the guest's memory.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="part">Which pixels; inside the resource.</param>
    /// <param name="offset">Where the first of them lies in the backing; the next row is a row of the resource further.</param>
    /// <returns>False when the backing has not all of them; some may have been copied.</returns>
    internal bool TryFill(GuestMemory memory, PixelRectangle part, ulong offset)
    {
        int stride = Width * sizeof(uint), length = part.Width * sizeof(uint);
        if (Backing is not GpuBacking backing || offset > backing.Length)
            return false;
        // Whole rows lie together on both sides.
        if (part.Width == Width)
            return backing.TryRead(memory, offset, Bytes.Slice(part.Y * stride, part.Height * stride));
        for (int row = 0; row < part.Height; row++)
        {
            Span<byte> destination = Bytes.Slice(((part.Y + row) * stride) + (part.X * sizeof(uint)), length);
            if (!backing.TryRead(memory, offset + ((ulong)row * (uint)stride), destination))
                return false;
        }

        return true;
    }

    /// <summary>Converts pixels of a row to AARRGGBBh.</summary>
    internal void Read(int x, int y, Span<uint> colors) => GpuFormats.Convert(Format, _pixels.AsSpan((y * Width) + x, colors.Length), colors);
}
