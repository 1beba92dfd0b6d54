using System.Buffers.Binary;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Tests.Boot;

/// <summary>Small well-formed kernels that tests then damage.</summary>
internal static class Samples
{
    internal const int SetupSize = 5 * 512;
    internal const int KernelSize = 0x1000;

    internal static byte[] BzImage(bool is64 = true, ushort version = 0x020F, ulong preferred = 0x1000000, uint initSize = 0x200000, uint initrdMaximum = 0x7FFFFFFF, uint commandLine = 2047, bool relocatable = true)
    {
        byte[] image = new byte[SetupSize + KernelSize];
        image[0x1F1] = 4;
        Put32(image, 0x1F4, KernelSize / 16);
        Put16(image, 0x1FE, 0xAA55);
        image[0x200] = 0xEB;
        image[0x201] = 0x6A;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        Put16(image, 0x206, version);
        image[0x211] = 1;
        Put32(image, 0x214, 0x100000);
        Put32(image, 0x22C, initrdMaximum);
        Put32(image, 0x230, 0x200000);
        image[0x234] = relocatable ? (byte)1 : (byte)0;
        Put16(image, 0x236, is64 ? (ushort)1 : (ushort)0);
        Put32(image, 0x238, commandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(0x258), preferred);
        Put32(image, 0x260, initSize);
        for (int i = 0; i < KernelSize; i++)
            image[SetupSize + i] = (byte)(i * 7);
        return image;
    }

    /// <summary>An ELF with one segment of 0x200 bytes (0x1000 in memory) at 2 MiB, and notes.</summary>
    internal static byte[] Elf(bool is64 = true, bool pvh = true, bool multiboot = false, ulong address = 0x200000)
    {
        byte[] image = new byte[0x400];
        "\u007fELF"u8.CopyTo(image);
        image[4] = is64 ? (byte)2 : (byte)1;
        image[5] = 1;
        image[6] = 1;
        Put16(image, 16, 2);
        Put16(image, 18, is64 ? (ushort)62 : (ushort)3);
        int header = is64 ? 64 : 52, entry = is64 ? 56 : 32;
        int count = pvh ? 2 : 1;
        if (is64)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(24), address + 0x10);
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(32), (ulong)header);
            Put16(image, 54, (ushort)entry);
            Put16(image, 56, (ushort)count);
        }
        else
        {
            Put32(image, 24, (uint)address + 0x10);
            Put32(image, 28, (uint)header);
            Put16(image, 42, (ushort)entry);
            Put16(image, 44, (ushort)count);
        }

        Segment(image.AsSpan(header), is64, 1, 0x200, address, 0x200, 0x1000);
        if (pvh)
        {
            Segment(image.AsSpan(header + entry), is64, 4, 0x100, 0, 0x14, 0x14);
            Put32(image, 0x100, 4);
            Put32(image, 0x104, 4);
            Put32(image, 0x108, 18);
            "Xen\0"u8.CopyTo(image.AsSpan(0x10C));
            Put32(image, 0x110, (uint)address + 0x40);
        }

        if (multiboot)
            MultibootHeader(image.AsSpan(0x200), 0);
        image[0x210] = 0xF4;
        return image;
    }

    /// <summary>A flat Multiboot image loaded by the header's addresses.</summary>
    internal static byte[] FlatMultiboot()
    {
        byte[] image = new byte[0x200];
        Span<byte> header = image.AsSpan(0x40);
        MultibootHeader(header, 1 << 16);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], 0x100040);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], 0x100000);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], 0x100180);
        BinaryPrimitives.WriteUInt32LittleEndian(header[24..], 0x101000);
        BinaryPrimitives.WriteUInt32LittleEndian(header[28..], 0x100080);
        image[0x80] = 0xF4;
        return image;
    }

    internal static BootFile File(byte[] bytes) => new("sample", bytes);

    internal static void Put16(byte[] image, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(offset), value);

    internal static void Put32(byte[] image, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset), value);

    private static void MultibootHeader(Span<byte> at, uint flags)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, 0x1BADB002);
        BinaryPrimitives.WriteUInt32LittleEndian(at[4..], flags);
        BinaryPrimitives.WriteUInt32LittleEndian(at[8..], unchecked(0u - 0x1BADB002 - flags));
    }

    private static void Segment(Span<byte> at, bool is64, uint type, ulong offset, ulong address, ulong fileSize, ulong memorySize)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, type);
        if (is64)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(at[8..], offset);
            BinaryPrimitives.WriteUInt64LittleEndian(at[16..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(at[24..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(at[32..], fileSize);
            BinaryPrimitives.WriteUInt64LittleEndian(at[40..], memorySize);
            return;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(at[4..], (uint)offset);
        BinaryPrimitives.WriteUInt32LittleEndian(at[8..], (uint)address);
        BinaryPrimitives.WriteUInt32LittleEndian(at[12..], (uint)address);
        BinaryPrimitives.WriteUInt32LittleEndian(at[16..], (uint)fileSize);
        BinaryPrimitives.WriteUInt32LittleEndian(at[20..], (uint)memorySize);
    }
}
