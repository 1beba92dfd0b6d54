using System.Numerics;
using System.Runtime.InteropServices;
using Doppel.Machine.Memory;
using Doppel.Machine.State;

namespace Doppel.Vmm.Snapshots;

/// <summary>Which pages of memory a snapshot has, and a checksum (CRC-32C) of each.</summary>
/// <param name="pages">Page numbers are below this.</param>
internal sealed class MemoryPages(ulong pages)
{
    /// <summary>Name of the section.</summary>
    internal const string SectionName = "memory";

    /// <summary>Version of the section.</summary>
    internal const int SectionVersion = 1;

    private readonly uint[] _checksums = new uint[pages];

    /// <summary>The pages.</summary>
    internal PageSet Present { get; } = new(pages);

    /// <summary>The checksum of a page's bytes.</summary>
    internal static uint Checksum(ReadOnlySpan<byte> page)
    {
        uint sum = uint.MaxValue;
        foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(page))
            sum = BitOperations.Crc32C(sum, word);
        return ~sum;
    }

    /// <summary>Adds a page, or replaces its checksum.</summary>
    internal void Set(ulong page, uint checksum)
    {
        Present.Add(page);
        _checksums[page] = checksum;
    }

    /// <summary>The checksum of a page that is present.</summary>
    internal uint this[ulong page] => _checksums[page];

    /// <summary>The section.</summary>
    internal SavedSection Save()
    {
        var writer = new StateWriter();
        List<(ulong First, ulong Count)> runs = [.. Present.Runs()];
        writer.Write((ulong)_checksums.Length);
        writer.Write(runs.Count);
        foreach ((ulong first, ulong count) in runs)
        {
            writer.Write(first);
            writer.Write(count);
        }

        foreach ((ulong first, ulong count) in runs)
        {
            for (ulong page = first; page < first + count; page++)
                writer.Write(_checksums[page]);
        }

        return new SavedSection(SectionName, SectionVersion, writer.ToArray());
    }

    /// <summary>Reads the section.</summary>
    /// <exception cref="InvalidDataException">A value can't be.</exception>
    internal static MemoryPages Read(SavedSection section)
    {
        if (section.Version != SectionVersion)
            throw new InvalidDataException($"version {section.Version} is unknown; {SectionVersion} is expected");
        var reader = new StateReader(section.Bytes);
        ulong capacity = reader.ReadUInt64();
        if (capacity > GuestMemory.MaximumAddressSpace / GuestMemory.PageSize)
            throw new InvalidDataException($"there are {capacity} pages; at most {GuestMemory.MaximumAddressSpace / GuestMemory.PageSize} can be");
        var pages = new MemoryPages(capacity);
        int runs = reader.ReadInt32();
        ulong end = 0;
        for (int i = 0; i < runs; i++)
        {
            ulong first = reader.ReadUInt64(), count = reader.ReadUInt64();
            if (first < end || first > capacity || count == 0 || count > capacity - first)
                throw new InvalidDataException($"{count} pages at {first} are not behind those before them, or not inside the {capacity} pages of the machine");
            pages.Present.Add(first, count);
            end = first + count;
        }

        foreach ((ulong first, ulong count) in pages.Present.Runs())
        {
            for (ulong page = first; page < first + count; page++)
                pages._checksums[page] = reader.ReadUInt32();
        }

        return reader.IsAtEnd ? pages : throw new InvalidDataException("there are more bytes than pages");
    }
}
