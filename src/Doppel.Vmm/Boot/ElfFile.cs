using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>The parts of a little-endian ELF executable for x86 that a boot loader needs (System V ABI, chapters 4 and 5).</summary>
internal sealed class ElfFile
{
    private const uint LoadSegment = 1, NoteSegment = 4;
    private const int MaximumSegments = 256;
    private const uint PvhNoteType = 18;
    private readonly List<ElfSegment> _segments = [];

    private ElfFile(BootFile file) => File = file;

    internal BootFile File { get; }

    internal bool Is64Bit { get; private init; }

    internal ulong Entry { get; private init; }

    internal static bool IsElf(BootFile file) => file.Bytes.StartsWith("\u007fELF"u8);

    internal static ElfFile Parse(BootFile file)
    {
        byte elfClass = file.ReadByte(4, "the ELF class");
        if (elfClass is not (1 or 2))
            throw file.Malformed($"ELF class {elfClass}; 1 (32-bit) or 2 (64-bit) would be right");
        if (file.ReadByte(5, "the ELF byte order") != 1)
            throw new BootException(BootError.Unsupported, $"{file.Name}: a big-endian ELF file; one for x86 would be right");
        bool is64 = elfClass == 2;
        ushort machine = file.ReadUInt16(18, "the ELF machine");
        if (machine is not (3 or 62))
            throw new BootException(BootError.Unsupported, $"{file.Name}: an ELF file for machine {machine}; 3 (i386) or 62 (x86-64) would be right");
        ulong table = is64 ? file.ReadUInt64(32, "the ELF header") : file.ReadUInt32(28, "the ELF header");
        int size = file.ReadUInt16(is64 ? 54 : 42, "the ELF header");
        int count = file.ReadUInt16(is64 ? 56 : 44, "the ELF header");
        if (count is 0 or > MaximumSegments)
            throw file.Malformed($"{count} ELF program headers; 1 to {MaximumSegments} would be right");
        if (size < (is64 ? 56 : 32))
            throw file.Malformed($"ELF program headers of {size} bytes; {(is64 ? 56 : 32)} would be right");
        if (table > (ulong)file.Length)
            throw file.Truncated(table + ((ulong)size * (ulong)count), "the ELF program header table");
        var elf = new ElfFile(file)
        {
            Is64Bit = is64,
            Entry = is64 ? file.ReadUInt64(24, "the ELF entry") : file.ReadUInt32(24, "the ELF entry"),
        };
        for (int i = 0; i < count; i++)
            elf._segments.Add(ReadSegment(file, is64, (long)table + ((long)i * size)));
        return elf;
    }

    /// <summary>Copies the loadable segments to their physical addresses, with zeros behind their file part.</summary>
    /// <param name="memory">The RAM.</param>
    /// <param name="used">Where the loader puts its own tables.</param>
    /// <returns>End (exclusive) of the highest segment.</returns>
    internal ulong LoadTo(GuestMemory memory, MemoryRange[] used)
    {
        ulong end = 0;
        foreach (ElfSegment segment in _segments.Where(s => s.Type == LoadSegment && s.MemorySize != 0))
        {
            if (segment.FileSize > segment.MemorySize)
                throw File.Malformed($"an ELF segment has {segment.FileSize} bytes in the file and only {segment.MemorySize} in memory");
            if (segment.MemorySize > memory.LowRamSize || segment.Address > memory.LowRamSize - segment.MemorySize)
                throw LowMemory.TooLarge(memory, segment.Address, segment.MemorySize, "kernel's segment");
            if (Array.Exists(used, r => segment.Address < r.End && r.Start < segment.Address + segment.MemorySize))
                throw new BootException(BootError.Unsupported, $"{File.Name}: a segment at address 0x{segment.Address:x} lies where the boot loader keeps its tables; 0x{LowMemory.End:x} or above would be right");
            LowMemory.Write(memory, segment.Address, segment.Data(File), "kernel's segment");
            LowMemory.Zero(memory, segment.Address + segment.FileSize, segment.MemorySize - segment.FileSize, "kernel's segment");
            end = Math.Max(end, segment.Address + segment.MemorySize);
        }

        if (end == 0)
            throw File.Malformed("no loadable ELF segment");
        return end;
    }

    /// <summary>The 32-bit entry of the Xen note PHYS32_ENTRY (Xen public/elfnote.h); null when there is none.</summary>
    internal uint? FindPvhEntry()
    {
        foreach (ElfSegment segment in _segments.Where(s => s.Type == NoteSegment))
        {
            ReadOnlySpan<byte> notes = segment.Data(File);
            while (notes.Length >= 12)
            {
                uint nameSize = BitConverter.ToUInt32(notes), dataSize = BitConverter.ToUInt32(notes[4..]), type = BitConverter.ToUInt32(notes[8..]);
                ulong dataStart = 12 + (((ulong)nameSize + 3) & ~3UL);
                ulong next = dataStart + (((ulong)dataSize + 3) & ~3UL);
                if (dataStart + dataSize > (ulong)notes.Length)
                    break;
                if (type == PvhNoteType && nameSize == 4 && dataSize >= 4 && notes.Slice(12, 4).SequenceEqual("Xen\0"u8))
                    return BitConverter.ToUInt32(notes[(int)dataStart..]);
                if (next >= (ulong)notes.Length)
                    break;
                notes = notes[(int)next..];
            }
        }

        return null;
    }

    /// <summary>Physical address of a virtual one, by the segment that holds it; the address itself when none does.</summary>
    internal ulong ToPhysical(ulong address)
    {
        foreach (ElfSegment segment in _segments.Where(s => s.Type == LoadSegment))
        {
            if (address - segment.VirtualAddress < segment.MemorySize)
                return address - segment.VirtualAddress + segment.Address;
        }

        return address;
    }

    private static ElfSegment ReadSegment(BootFile file, bool is64, long at)
    {
        const string Field = "an ELF program header";
        return is64
            ? new ElfSegment(
                file.ReadUInt32(at, Field),
                file.ReadUInt64(at + 8, Field),
                file.ReadUInt64(at + 16, Field),
                file.ReadUInt64(at + 24, Field),
                file.ReadUInt64(at + 32, Field),
                file.ReadUInt64(at + 40, Field))
            : new ElfSegment(
                file.ReadUInt32(at, Field),
                file.ReadUInt32(at + 4, Field),
                file.ReadUInt32(at + 8, Field),
                file.ReadUInt32(at + 12, Field),
                file.ReadUInt32(at + 16, Field),
                file.ReadUInt32(at + 20, Field));
    }
}
