using System.Buffers.Binary;

namespace Doppel.Vmm.Migration.PostCopy;

/// <summary>Pages that the target's guest waits for, as they go over the wire: their numbers, 4 bytes each.</summary>
internal static class PageRequest
{
    /// <summary>Writes one.</summary>
    internal static byte[] Write(IReadOnlyList<ulong> pages)
    {
        byte[] bytes = new byte[pages.Count * sizeof(uint)];
        for (int i = 0; i < pages.Count; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * sizeof(uint)), (uint)pages[i]);
        return bytes;
    }

    /// <summary>Reads one.</summary>
    internal static IEnumerable<ulong> Read(byte[] bytes)
    {
        for (int at = 0; at + sizeof(uint) <= bytes.Length; at += sizeof(uint))
            yield return BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));
    }
}

/// <summary>Runs of pages as they go over the wire: first page and how many, 4 bytes each.</summary>
internal static class PageRuns
{
    private const int Length = 2 * sizeof(uint);

    /// <summary>Writes the runs of a set.</summary>
    internal static byte[] Write(Machine.Memory.PageSet pages)
    {
        var bytes = new MemoryStream();
        Span<byte> run = stackalloc byte[Length];
        foreach ((ulong first, ulong count) in pages.Runs())
        {
            BinaryPrimitives.WriteUInt32LittleEndian(run, (uint)first);
            BinaryPrimitives.WriteUInt32LittleEndian(run[sizeof(uint)..], (uint)count);
            bytes.Write(run);
        }

        return bytes.ToArray();
    }

    /// <summary>Adds runs to a set.</summary>
    /// <exception cref="IOException">They are none, or beyond the set.</exception>
    internal static void Read(ReadOnlySpan<byte> bytes, Machine.Memory.PageSet pages)
    {
        if (bytes.Length % Length != 0)
            throw new IOException($"{bytes.Length} bytes are no runs of pages");
        for (; !bytes.IsEmpty; bytes = bytes[Length..])
        {
            ulong first = BinaryPrimitives.ReadUInt32LittleEndian(bytes), count = BinaryPrimitives.ReadUInt32LittleEndian(bytes[sizeof(uint)..]);
            if (first + count > pages.Capacity)
                throw new IOException($"{count} pages from page {first} on, of a memory of {pages.Capacity}");
            pages.Add(first, count);
        }
    }
}
