namespace Doppel.Vmm.Boot;

/// <summary>One ELF program header.</summary>
internal readonly record struct ElfSegment(uint Type, ulong Offset, ulong VirtualAddress, ulong Address, ulong FileSize, ulong MemorySize)
{
    /// <summary>The segment's bytes in the file.</summary>
    /// <exception cref="BootException">They leave the file.</exception>
    internal ReadOnlySpan<byte> Data(BootFile file)
    {
        if (Offset > (ulong)file.Length || FileSize > (ulong)file.Length - Offset)
            throw file.Truncated(FileSize > ulong.MaxValue - Offset ? ulong.MaxValue : Offset + FileSize, "an ELF segment");
        return file.Slice((long)Offset, (long)FileSize, "an ELF segment");
    }
}
