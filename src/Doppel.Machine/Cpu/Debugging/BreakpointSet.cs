namespace Doppel.Machine.Cpu.Debugging;

/// <summary>The breakpoints of a debugger. Immutable: all vCPUs of a machine share one, and a change makes another.</summary>
public sealed class BreakpointSet
{
    /// <summary>The most bytes that one watchpoint can watch.</summary>
    public const int MaximumLength = 4096;

    private readonly HashSet<ulong> _code;
    private readonly HashSet<ulong> _codePages;
    private readonly Breakpoint[] _watchpoints;

    /// <summary>Makes a set.</summary>
    /// <exception cref="ArgumentException">A watchpoint's length is not 1 to <see cref="MaximumLength"/>.</exception>
    public BreakpointSet(IEnumerable<Breakpoint> breakpoints)
    {
        All = [.. breakpoints];
        foreach (Breakpoint b in All)
        {
            if (!b.IsCode && b.Length is < 1 or > MaximumLength)
                throw new ArgumentException($"a watchpoint of {b.Length} bytes: 1 to {MaximumLength} would be right", nameof(breakpoints));
        }

        _code = [.. All.Where(b => b.IsCode).Select(b => b.Address)];
        _codePages = [.. _code.Select(a => a >> 12)];
        _watchpoints = [.. All.Where(b => !b.IsCode)];
    }

    /// <summary>No breakpoint.</summary>
    public static BreakpointSet Empty { get; } = new([]);

    /// <summary>All of them.</summary>
    public IReadOnlyList<Breakpoint> All { get; }

    /// <summary>True when there is none.</summary>
    public bool IsEmpty => All.Count == 0;

    /// <summary>True when there is a watchpoint.</summary>
    public bool HasWatchpoints => _watchpoints.Length != 0;

    /// <summary>The set with one more; the same set when it is there already.</summary>
    public BreakpointSet With(Breakpoint breakpoint) => All.Contains(breakpoint) ? this : new BreakpointSet(All.Append(breakpoint));

    /// <summary>The set without one.</summary>
    public BreakpointSet Without(Breakpoint breakpoint) => new(All.Where(b => b != breakpoint));

    /// <summary>True when execution stops somewhere on the page of a linear address.</summary>
    public bool HasCodeOnPage(ulong address) => _codePages.Count != 0 && _codePages.Contains(address >> 12);

    /// <summary>The breakpoint on execution at a linear address; a hardware one goes before a software one.</summary>
    public Breakpoint? FindCode(ulong address)
    {
        if (!_code.Contains(address))
            return null;
        var hardware = new Breakpoint(BreakpointKind.Hardware, address, 0);
        foreach (Breakpoint b in All)
        {
            if (b.Address == address && b.Kind == BreakpointKind.Hardware)
                return hardware;
        }

        return hardware with { Kind = BreakpointKind.Software };
    }

    /// <summary>True when a watchpoint touches the page of a linear address.</summary>
    public bool WatchesPage(ulong address)
    {
        foreach (Breakpoint b in _watchpoints)
        {
            if (b.Address >> 12 == address >> 12 || (b.Address + (uint)b.Length - 1) >> 12 == address >> 12)
                return true;
        }

        return false;
    }

    /// <summary>The watchpoint that an access touches, or null.</summary>
    public Breakpoint? FindWatch(ulong address, int size, bool isWrite)
    {
        foreach (Breakpoint b in _watchpoints)
        {
            if (b.Matches(address, size, isWrite))
                return b;
        }

        return null;
    }
}
