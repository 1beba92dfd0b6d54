using System.Buffers.Binary;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>Where the loaders put their own structures below 640 KiB, and how they write them.</summary>
internal static class LowMemory
{
    internal const ulong Gdt = 0x500;
    internal const ulong PvhStartInfo = 0x6000;
    internal const ulong BootParameters = 0x7000;
    internal const ulong StackTop = 0x9000;
    internal const ulong PageTables = 0x9000;
    internal const ulong MultibootInfo = 0x10000;
    internal const ulong CommandLine = 0x20000;

    /// <summary>Space for the command line with its terminator.</summary>
    internal const int CommandLineSize = 0x10000;

    /// <summary>End (exclusive) of what is used here.</summary>
    internal const ulong End = 0x40000;

    internal const ushort CodeSelector = 0x10;
    internal const ushort DataSelector = 0x18;
    internal const ushort TaskSelector = 0x20;
    internal const ushort GdtLimit = 0x2F;

    /// <summary>What a loader writes below 1 MiB when it uses these addresses; a kernel's segments must lie elsewhere.</summary>
    internal static MemoryRange[] Used(ulong first) => [new(Gdt, GdtLimit + 1u, MemoryKind.Reserved), new(first, End - first, MemoryKind.Reserved)];

    /// <summary>Writes a flat GDT: null, null, code (0x10), data (0x18) and a 16-byte busy TSS (0x20).</summary>
    internal static void WriteGdt(GuestMemory memory, bool isLong)
    {
        Span<byte> table = stackalloc byte[GdtLimit + 1];
        BinaryPrimitives.WriteUInt64LittleEndian(table[0x10..], isLong ? 0x00AF9B000000FFFFUL : 0x00CF9B000000FFFFUL);
        BinaryPrimitives.WriteUInt64LittleEndian(table[0x18..], 0x00CF93000000FFFFUL);
        BinaryPrimitives.WriteUInt64LittleEndian(table[0x20..], 0x00008B0000000067UL);
        Write(memory, Gdt, table, "GDT");
    }

    /// <summary>Maps the first 4 GiB to themselves with 2 MiB pages; returns the top table's address.</summary>
    internal static ulong WriteIdentityMap(GuestMemory memory)
    {
        const ulong Present = 1, Writable = 2, Large = 0x80;
        Span<byte> tables = new byte[6 * 4096];
        ulong next = PageTables + 4096;
        BinaryPrimitives.WriteUInt64LittleEndian(tables, next | Present | Writable);
        for (int gigabyte = 0; gigabyte < 4; gigabyte++)
        {
            int directory = (2 + gigabyte) * 4096;
            BinaryPrimitives.WriteUInt64LittleEndian(tables[(4096 + (gigabyte * 8))..], (PageTables + (ulong)directory) | Present | Writable);
            for (int i = 0; i < 512; i++)
            {
                ulong page = (((ulong)gigabyte << 30) + ((ulong)i << 21)) | Present | Writable | Large;
                BinaryPrimitives.WriteUInt64LittleEndian(tables[(directory + (i * 8))..], page);
            }
        }

        Write(memory, PageTables, tables, "page tables");
        return PageTables;
    }

    /// <summary>Writes the command line with its terminating zero.</summary>
    /// <exception cref="BootException">It is longer than the kernel or the space allows.</exception>
    internal static void WriteCommandLine(GuestMemory memory, string text, long kernelLimit)
    {
        byte[] bytes = [.. System.Text.Encoding.UTF8.GetBytes(text), 0];
        long limit = Math.Min(kernelLimit, CommandLineSize - 1);
        if (bytes.Length - 1 > limit)
            throw new BootException(BootError.TooLarge, $"the kernel's command line has {bytes.Length - 1} bytes; this kernel takes at most {limit}");
        if (Array.IndexOf(bytes, (byte)0) != bytes.Length - 1)
            throw new BootException(BootError.Malformed, "the kernel's command line contains a zero byte");
        Write(memory, CommandLine, bytes, "command line");
    }

    /// <summary>Writes to RAM.</summary>
    /// <exception cref="BootException">The range is not RAM.</exception>
    internal static void Write(GuestMemory memory, ulong address, ReadOnlySpan<byte> bytes, string what)
    {
        if (!memory.TryWrite(address, bytes))
            throw TooLarge(memory, address, (ulong)bytes.Length, what);
    }

    /// <summary>Fills RAM with zeros.</summary>
    /// <exception cref="BootException">The range is not RAM.</exception>
    internal static void Zero(GuestMemory memory, ulong address, ulong length, string what)
    {
        if (address > memory.AddressSpaceSize || length > memory.AddressSpaceSize - address)
            throw TooLarge(memory, address, length, what);
        byte[] zeros = new byte[Math.Min(length, 1 << 20)];
        for (ulong done = 0; done < length; done += (ulong)zeros.Length)
            Write(memory, address + done, zeros.AsSpan(0, (int)Math.Min((ulong)zeros.Length, length - done)), what);
    }

    /// <summary>
    /// Places a file as high as possible below a limit in low RAM, page-aligned, and above what the kernel uses.
    /// </summary>
    /// <returns>Its address.</returns>
    /// <exception cref="BootException">There is no room.</exception>
    internal static ulong PlaceHigh(GuestMemory memory, BootFile file, ulong kernelEnd, ulong limit)
    {
        ulong top = Math.Min(memory.LowRamSize, limit) & ~0xFFFUL;
        ulong floor = (Math.Max(kernelEnd, 0x100000) + 0xFFF) & ~0xFFFUL;
        ulong size = ((ulong)file.Length + 0xFFF) & ~0xFFFUL;
        if (top < floor || size > top - floor)
        {
            ulong room = top < floor ? 0 : top - floor;
            throw new BootException(
                BootError.TooLarge,
                $"{file.Name}: the initial RAM disk of {Mebibytes((ulong)file.Length)} doesn't fit in the memory of {Mebibytes(memory.RamSize)}: the kernel leaves {Mebibytes(room)} for it; at least {Mebibytes(floor + size)} of memory would do");
        }

        ulong address = top - size;
        Write(memory, address, file.Bytes, "initial RAM disk");
        return address;
    }

    internal static string Mebibytes(ulong bytes) =>
        bytes % (1 << 20) == 0 ? $"{bytes >> 20} MiB" : $"{bytes / 1048576.0:0.0} MiB";

    internal static BootException TooLarge(GuestMemory memory, ulong address, ulong length, string what) =>
        new(BootError.TooLarge, $"the {what} needs {Mebibytes(length)} at address 0x{address:x}; the machine has {Mebibytes(memory.RamSize)} of memory");
}
