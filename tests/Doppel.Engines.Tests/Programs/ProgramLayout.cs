namespace Doppel.Engines.Tests.Programs;

/// <summary>Linear addresses of a random program, the same in the guest and in the native process.</summary>
internal static class ProgramLayout
{
    internal const ulong PageSize = 0x1000;

    /// <summary>Writable code.</summary>
    internal const ulong Code = 0x10000000;
    internal const int CodeSize = 0x8000;

    /// <summary>Eight pages, of which some are absent and one is read-only.</summary>
    internal const ulong Data = 0x11000000;
    internal const int DataSize = 0x8000;

    /// <summary>Four pages 2 MiB behind the data, so that both want the same places in a TLB.</summary>
    internal const ulong Far = 0x11200000;
    internal const int FarSize = 0x4000;

    /// <summary>Loop counters, tables of addresses, the vector registers; random accesses don't get here.</summary>
    internal const ulong Control = 0x12000000;
    internal const int ControlSize = 0x1000;

    internal const ulong Stack = 0x13000000;
    internal const int StackSize = 0x4000;

    /// <summary>Most events in a log; the program ends with the last one.</summary>
    internal const int LogLimit = 2000;

    /// <summary>Vector, error code, address of a page fault, RIP, flags, and the sixteen registers.</summary>
    internal const int LogWords = 21;

    /// <summary>The regions that are compared, in the order in which the native process is given them.</summary>
    internal static readonly (string Name, ulong Address, int Size)[] Regions =
    [
        ("code", Code, CodeSize), ("data", Data, DataSize), ("far", Far, FarSize), ("control", Control, ControlSize), ("stack", Stack, StackSize),
    ];

    /// <summary>Pages of the data: 'w' writable, 'r' read-only, '-' absent.</summary>
    internal const string DataPages = "ww-rww--";
}
