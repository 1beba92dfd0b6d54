using Doppel.Host;
using Doppel.Host.Memory;

namespace Doppel.Machine.Memory;

/// <content>Memory whose last pages come while the machine runs already.</content>
public sealed unsafe partial class GuestMemory
{
    /// <summary>Pages below this address never come late: what the chip set shows there changes, and with it the mapping.</summary>
    public const ulong LateStart = 1 << 20;

    private volatile bool _isPartial;

    /// <summary>True while pages may be missing; whoever touches one waits for it.</summary>
    public bool IsPartial => _isPartial;

    /// <summary>True for a page that may come late.</summary>
    public bool MayComeLate(ulong address) => address >= LateStart && IsInstalled(address) && (FlagsOf(address) & (Memory.PageFlags.Ram | Memory.PageFlags.Device)) == Memory.PageFlags.Ram;

    /// <summary>
    /// Takes pages away that come later: whoever touches one from now on, or any that was never filled, waits until
    /// <paramref name="faults"/> places it. They count as written. No vCPU runs and no device works.
    /// </summary>
    /// <param name="pages">Which; those for which <see cref="MayComeLate"/> is false are passed over.</param>
    /// <param name="faults">Of this process.</param>
    /// <returns>Where pages are placed: guest-physical address, host address and bytes of each range.</returns>
    /// <exception cref="HostException">The host refuses.</exception>
    public IReadOnlyList<LateRange> Await(PageSet pages, PageFaultDescriptor faults)
    {
        ArgumentNullException.ThrowIfNull(pages);
        ArgumentNullException.ThrowIfNull(faults);
        foreach ((ulong first, ulong count) in pages.Runs())
        {
            for (ulong page = first, end = first + count; page < end;)
            {
                ulong start = page;
                while (page < end && MayComeLate(page * PageSize))
                    NoteWrite(page++ * PageSize, PageSize);
                // What came before is out of date.
                if (page != start)
                    _memory.Free(start * PageSize, (page - start) * PageSize);
                else
                    page++;
            }
        }

        var ranges = new List<LateRange>();
        if (LowRamSize > LateStart)
            ranges.Add(new LateRange(LateStart, (ulong)(Base + LateStart), LowRamSize - LateStart));
        if (HighRamSize != 0)
            ranges.Add(new LateRange(HighRamStart, (ulong)(Base + HighRamStart), HighRamSize));
        foreach (LateRange range in ranges)
            faults.Register(range.Host, range.Length);
        _isPartial = ranges.Count != 0;
        return ranges;
    }

    /// <summary>All pages are there. Any thread.</summary>
    public void EndAwait() => _isPartial = false;
}

/// <summary>A range of memory whose pages may come late.</summary>
/// <param name="Address">Guest-physical address of its first byte.</param>
/// <param name="Host">The same in the process that runs the machine.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct LateRange(ulong Address, ulong Host, ulong Length);
