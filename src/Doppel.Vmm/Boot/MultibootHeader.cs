using System.Buffers.Binary;

namespace Doppel.Vmm.Boot;

/// <summary>The Multiboot header of an image (Multiboot Specification 0.6.96, section 3.1).</summary>
internal sealed record MultibootHeader(int Offset, uint Flags)
{
    internal const uint Magic = 0x1BADB002;
    private const int SearchLength = 8192;

    /// <summary>Bit 16: the address fields are valid.</summary>
    internal bool HasAddresses => (Flags & (1 << 16)) != 0;

    /// <summary>Physical address at which the header lies after loading.</summary>
    internal uint HeaderAddress { get; private init; }

    internal uint LoadAddress { get; private init; }

    internal uint LoadEnd { get; private init; }

    internal uint BssEnd { get; private init; }

    internal uint Entry { get; private init; }

    /// <summary>Looks in the first 8192 bytes for the magic with a right checksum; null when there is none.</summary>
    internal static MultibootHeader? Find(BootFile file)
    {
        ReadOnlySpan<byte> bytes = file.Bytes[..Math.Min(file.Length, SearchLength)];
        for (int at = 0; at + 12 <= bytes.Length; at += 4)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]) != Magic)
                continue;
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(at + 4)..]);
            if (unchecked(Magic + flags + BinaryPrimitives.ReadUInt32LittleEndian(bytes[(at + 8)..])) != 0)
                continue;
            var header = new MultibootHeader(at, flags);
            return header.HasAddresses
                ? header with
                {
                    HeaderAddress = file.ReadUInt32(at + 12, "the Multiboot header"),
                    LoadAddress = file.ReadUInt32(at + 16, "the Multiboot header"),
                    LoadEnd = file.ReadUInt32(at + 20, "the Multiboot header"),
                    BssEnd = file.ReadUInt32(at + 24, "the Multiboot header"),
                    Entry = file.ReadUInt32(at + 28, "the Multiboot header"),
                }
                : header;
        }

        return null;
    }
}
