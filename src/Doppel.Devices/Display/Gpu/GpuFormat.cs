namespace Doppel.Devices.Display.Gpu;

/// <summary>How a resource of a virtio GPU holds its pixels (virtio 1.2, 5.7.6.8): four bytes each, named in the order in which they lie.</summary>
internal enum GpuFormat : uint
{
    B8G8R8A8 = 1,
    B8G8R8X8 = 2,
    A8R8G8B8 = 3,
    X8R8G8B8 = 4,
    R8G8B8A8 = 67,
    X8B8G8R8 = 68,
    A8B8G8R8 = 121,
    R8G8B8X8 = 134,
}

/// <summary>Pixels of each format as colours.</summary>
internal static class GpuFormats
{
    private const uint Opaque = 0xFF00_0000;

    internal static bool IsKnown(uint format) => Enum.IsDefined((GpuFormat)format);

    /// <summary>Converts pixels to AARRGGBBh.</summary>
    internal static void Convert(GpuFormat format, ReadOnlySpan<uint> source, Span<uint> colors)
    {
        for (int i = 0; i < source.Length; i++)
        {
            uint pixel = source[i];
            colors[i] = format switch
            {
                GpuFormat.B8G8R8A8 => pixel,
                GpuFormat.B8G8R8X8 => pixel | Opaque,
                GpuFormat.A8R8G8B8 => System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(pixel),
                GpuFormat.X8R8G8B8 => System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(pixel) | Opaque,
                GpuFormat.R8G8B8A8 => Swap(pixel),
                GpuFormat.R8G8B8X8 => Swap(pixel) | Opaque,
                GpuFormat.A8B8G8R8 => uint.RotateRight(pixel, 8),
                _ => (pixel >> 8) | Opaque,
            };
        }
    }

    private static uint Swap(uint pixel) => (pixel & 0xFF00_FF00) | ((pixel & 0xFF) << 16) | ((pixel >> 16) & 0xFF);
}
