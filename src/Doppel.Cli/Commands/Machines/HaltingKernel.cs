using System.Buffers.Binary;

namespace Doppel.Cli.Commands.Machines;

/// <summary>A Multiboot kernel (Multiboot Specification 0.6.96, 3.1) of two instructions: it halts for good.</summary>
internal static class HaltingKernel
{
    internal static byte[] Image { get; } = Create();

    private static byte[] Create()
    {
        const uint Base = 0x100000, Start = 0x20, Magic = 0x1BADB002, HasAddresses = 1 << 16;
        byte[] image = [.. new byte[Start], 0xF4, 0xEB, 0xFD]; // hlt; jmp to it
        uint[] header = [Magic, HasAddresses, unchecked(0u - Magic - HasAddresses), Base, Base, 0, 0, Base + Start];
        for (int i = 0; i < header.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(4 * i), header[i]);
        return image;
    }
}
