using System.Buffers.Binary;

namespace Doppel.Vmm.Boot;

/// <summary>
/// Makes kernels of bare machine code: a Multiboot header with addresses (Multiboot Specification 0.6.96, section 3.1) and the
/// code behind it. They begin in 32-bit protected mode without paging.
/// </summary>
public static class MultibootImage
{
    /// <summary>Guest-physical address of the first byte of an image.</summary>
    public const uint Base = 0x100000;

    /// <summary>Bytes of the header.</summary>
    public const int HeaderLength = 32;

    /// <summary>Offset of the code in an image of <see cref="Create"/>.</summary>
    public const int CodeOffset = 0x40;

    private const uint HasAddresses = 1 << 16;

    /// <summary>An image whose code begins at <see cref="Base"/> + <see cref="CodeOffset"/>, its first instruction first.</summary>
    public static byte[] Create(ReadOnlySpan<byte> code)
    {
        byte[] image = new byte[CodeOffset + code.Length];
        code.CopyTo(image.AsSpan(CodeOffset));
        WriteHeader(image, Base + CodeOffset);
        return image;
    }

    /// <summary>Writes the header at the begin of an image that is loaded at <see cref="Base"/>.</summary>
    /// <param name="image">At least <see cref="HeaderLength"/> bytes.</param>
    /// <param name="entry">Guest-physical address of the first instruction.</param>
    /// <param name="loadEnd">Guest-physical address behind what is loaded; 0 for all of the image.</param>
    /// <param name="bssEnd">Guest-physical address up to which memory is cleared behind it; 0 for none.</param>
    public static void WriteHeader(Span<byte> image, uint entry, uint loadEnd = 0, uint bssEnd = 0)
    {
        ReadOnlySpan<uint> header =
        [
            MultibootHeader.Magic, HasAddresses, unchecked(0u - MultibootHeader.Magic - HasAddresses), Base, Base, loadEnd, bssEnd, entry,
        ];
        for (int i = 0; i < header.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(image[(4 * i)..], header[i]);
    }
}
