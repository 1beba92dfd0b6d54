using Doppel.Machine.Bus;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>The memory map in the form of BIOS interrupt 15h, function E820h: sorted, without overlap.</summary>
public sealed class MemoryMap
{
    private readonly List<MemoryRange> _ranges;

    private MemoryMap(List<MemoryRange> ranges) => _ranges = ranges;

    /// <summary>The ranges in ascending order.</summary>
    public IReadOnlyList<MemoryRange> Ranges => _ranges;

    /// <summary>The PC's map: conventional memory, the BIOS areas, RAM above 1 MiB and above 4 GiB.</summary>
    /// <param name="memory">The RAM.</param>
    /// <param name="reserved">Further ranges that firmware keeps, inside RAM above 1 MiB.</param>
    public static MemoryMap ForPc(GuestMemory memory, params IEnumerable<MemoryRange> reserved)
    {
        var ranges = new List<MemoryRange>();
        Add(ranges, 0, Math.Min(PcMemoryMap.ConventionalEnd, memory.LowRamSize), MemoryKind.Ram);
        Add(ranges, PcMemoryMap.ConventionalEnd, Math.Min(0xA0000, memory.LowRamSize), MemoryKind.Reserved);
        Add(ranges, PcMemoryMap.BiosArea, PcMemoryMap.BiosAreaEnd, MemoryKind.Reserved);
        Add(ranges, PcMemoryMap.BiosAreaEnd, memory.LowRamSize, MemoryKind.Ram);
        Add(ranges, GuestMemory.HighRamStart, GuestMemory.HighRamStart + memory.HighRamSize, MemoryKind.Ram);
        foreach (MemoryRange hole in reserved)
            Carve(ranges, hole);
        return new MemoryMap([.. ranges.OrderBy(r => r.Start)]);
    }

    private static void Add(List<MemoryRange> ranges, ulong start, ulong end, MemoryKind kind)
    {
        if (end > start)
            ranges.Add(new MemoryRange(start, end - start, kind));
    }

    private static void Carve(List<MemoryRange> ranges, MemoryRange hole)
    {
        foreach (MemoryRange range in ranges.Where(r => r.Start < hole.End && hole.Start < r.End).ToList())
        {
            _ = ranges.Remove(range);
            Add(ranges, range.Start, hole.Start, range.Kind);
            Add(ranges, hole.End, range.End, range.Kind);
        }

        ranges.Add(hole);
    }
}
