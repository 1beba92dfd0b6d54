using System.Buffers.Binary;
using Doppel.Host.Compression;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Migration;

/// <summary>Takes a page of a batch.</summary>
/// <param name="page">Its number.</param>
/// <param name="bytes">Its bytes; none for zeros.</param>
internal delegate void PageTaker(ulong page, ReadOnlySpan<byte> bytes);

/// <summary>
/// Neighbouring pages of memory as they go over the wire: how many, for each its number with the top bit set for a page of
/// zeros, how the bytes of the others are written, and those bytes.
/// </summary>
internal static class PageBatch
{
    /// <summary>Most pages of a batch.</summary>
    internal const int MostPages = 64;

    /// <summary>Longest batch.</summary>
    internal const int LongestBatch = HeaderLength + (MostPages * (sizeof(uint) + GuestMemory.PageSize));

    private const int HeaderLength = 3;
    private const uint Zero = 1U << 31;
    private const byte Plain = 0, Compressed = 1;

    /// <summary>Writes a batch.</summary>
    /// <param name="pages">Page numbers; at most <see cref="MostPages"/>.</param>
    /// <param name="zeros">For each, true when it is zeros.</param>
    /// <param name="content">The bytes of the others, one behind the other.</param>
    /// <param name="compresses">True to compress them, unless that makes them longer.</param>
    /// <param name="target">At least <see cref="LongestBatch"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    internal static int Write(ReadOnlySpan<ulong> pages, ReadOnlySpan<bool> zeros, ReadOnlySpan<byte> content, bool compresses, Span<byte> target)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(target, (ushort)pages.Length);
        int at = HeaderLength;
        for (int i = 0; i < pages.Length; i++, at += sizeof(uint))
            BinaryPrimitives.WriteUInt32LittleEndian(target[at..], (uint)pages[i] | (zeros[i] ? Zero : 0));
        int compressed = compresses && content.Length != 0 ? Zstandard.Compress(content, target.Slice(at, content.Length), Zstandard.FastLevel) : -1;
        target[2] = compressed < 0 ? Plain : Compressed;
        if (compressed >= 0)
            return at + compressed;
        content.CopyTo(target[at..]);
        return at + content.Length;
    }

    /// <summary>Puts a batch into memory. The machine doesn't run.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="memory">The memory.</param>
    /// <param name="scratch">As many bytes as the pages of a batch have.</param>
    /// <exception cref="IOException">It is none, or not for this memory.</exception>
    internal static void Read(ReadOnlySpan<byte> batch, GuestMemory memory, Span<byte> scratch) => Read(batch, scratch, (page, bytes) =>
    {
        ulong address = page * GuestMemory.PageSize;
        // The chip set may show something else there than RAM, here or at the source.
        if (!memory.IsInstalled(address))
            throw new IOException($"a batch of pages has guest-physical 0x{address:x}, which is no RAM");
        if (!bytes.IsEmpty)
            memory.Store(address, bytes);
        else if (memory.UnusedFrom(address, GuestMemory.PageSize) == 0 && !memory.TryFree(address, GuestMemory.PageSize))
            memory.Store(address, new byte[GuestMemory.PageSize]);
    });

    /// <summary>Reads a batch.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="scratch">As many bytes as the pages of a batch have.</param>
    /// <param name="put">Takes each page: its number and its bytes, none for zeros.</param>
    /// <exception cref="IOException">It is none.</exception>
    internal static void Read(ReadOnlySpan<byte> batch, Span<byte> scratch, PageTaker put)
    {
        int count = batch.Length < HeaderLength ? 0 : BinaryPrimitives.ReadUInt16LittleEndian(batch);
        int start = HeaderLength + (count * sizeof(uint));
        if (count is 0 or > MostPages || batch.Length < start)
            throw new IOException($"{batch.Length} bytes are no batch of pages");
        ReadOnlySpan<byte> numbers = batch[HeaderLength..start], content = batch[start..];
        int length = 0;
        for (int i = 0; i < count; i++)
            length += (Number(numbers, i) & Zero) == 0 ? GuestMemory.PageSize : 0;
        if (batch[2] == Compressed)
        {
            scratch = scratch[..length];
            if (Zstandard.Decompress(content, scratch) != length)
                throw new IOException("a batch of pages is damaged");
            content = scratch;
        }

        if (batch[2] > Compressed || content.Length != length)
            throw new IOException($"a batch of pages has {content.Length} bytes; {length} would be right");
        for (int i = 0; i < count; i++)
        {
            uint number = Number(numbers, i);
            bool isZero = (number & Zero) != 0;
            put(number & ~Zero, isZero ? [] : content[..GuestMemory.PageSize]);
            if (!isZero)
                content = content[GuestMemory.PageSize..];
        }
    }

    private static uint Number(ReadOnlySpan<byte> numbers, int i) => BinaryPrimitives.ReadUInt32LittleEndian(numbers[(i * sizeof(uint))..]);
}
