namespace Doppel.Machine.Cpu.Debugging;

/// <summary>A breakpoint or watchpoint of a debugger. It holds in every address space and mode.</summary>
/// <param name="Kind">What it waits for.</param>
/// <param name="Address">Linear address.</param>
/// <param name="Length">Bytes watched, 1 to 4096; of no meaning for execution.</param>
public readonly record struct Breakpoint(BreakpointKind Kind, ulong Address, int Length)
{
    /// <summary>True for a breakpoint on execution.</summary>
    public bool IsCode => Kind is BreakpointKind.Software or BreakpointKind.Hardware;

    /// <summary>True when an access of one or more bytes is one that the watchpoint waits for.</summary>
    public bool Matches(ulong address, int size, bool isWrite) =>
        (Kind == BreakpointKind.Access || Kind == (isWrite ? BreakpointKind.Write : BreakpointKind.Read)) &&
        (address - Address < (ulong)Length || Address - address < (ulong)size);
}
