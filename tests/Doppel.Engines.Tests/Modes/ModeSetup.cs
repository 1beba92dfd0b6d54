namespace Doppel.Engines.Tests.Modes;

/// <summary>A mode other than 64-bit mode, with where its segments lie.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Bits">Of code: 16 or 32.</param>
/// <param name="StackBits">16 or 32.</param>
/// <param name="Kind">Which rules hold.</param>
/// <param name="CodeBase">Base of CS.</param>
/// <param name="Data">DS and ES.</param>
/// <param name="Stack">SS.</param>
/// <param name="Cpl">0 or 3.</param>
internal sealed record ModeSetup(string Name, int Bits, int StackBits, ModeKind Kind, uint CodeBase, SegmentRange Data, SegmentRange Stack, int Cpl = 0)
{
    /// <summary>Linear address where programs lie, a little below and in this page and the next.</summary>
    internal const uint Code = 0x20000;

    /// <summary>Linear address of memory for operands, of <see cref="DataBytes"/>. With paging its third page is absent, its fourth read-only.</summary>
    internal const uint DataStart = 0x30000;

    internal const int DataBytes = 0x6000;

    /// <summary>Linear address of the middle of the stack.</summary>
    internal const uint StackMiddle = 0x52000;

    private static readonly SegmentRange Flat = new(0, uint.MaxValue);

    /// <summary>All of them.</summary>
    internal static readonly ModeSetup[] All =
    [
        new("flat 32-bit", 32, 32, ModeKind.Protected, 0, Flat, Flat),
        new("flat 32-bit at CPL 3", 32, 32, ModeKind.Protected, 0, Flat, Flat, 3),
        new("flat compatibility mode", 32, 32, ModeKind.Compatibility, 0, Flat, Flat),
        new("flat compatibility mode at CPL 3", 32, 32, ModeKind.Compatibility, 0, Flat, Flat, 3),
        new("32-bit segments", 32, 32, ModeKind.Protected, 0x1F230, new(0x2F010, 0x5123), new(0x50020, 0x2FFF)),
        new("32-bit segments in compatibility mode", 32, 32, ModeKind.Compatibility, 0x1F230, new(0x2F010, 0x5123), new(0x50020, 0x2FFF), 3),
        new("32-bit code on a 16-bit stack", 32, 16, ModeKind.Protected, 0x1F230, Flat, new(0x50020, 0xFFFF)),
        new("16-bit protected mode", 16, 16, ModeKind.Protected, 0x1F230, new(0x2F010, 0x5123), new(0x50020, 0xFFFF)),
        new("16-bit protected mode at CPL 3", 16, 16, ModeKind.Protected, 0x1F230, new(0x2F010, 0x5123), new(0x50020, 0xFFFF), 3),
        new("16-bit code on a 32-bit stack", 16, 32, ModeKind.Protected, 0x1F230, new(0x2F010, uint.MaxValue), new(0x40020, uint.MaxValue)),
        new("real mode", 16, 16, ModeKind.Real, 0x1F230, new(0x2F010, 0xFFFF), new(0x50020, 0xFFFF)),
        new("unreal mode", 16, 16, ModeKind.Real, 0x1F230, new(0x2F010, uint.MaxValue), new(0x50020, 0xFFFF)),
        new("virtual-8086 mode", 16, 16, ModeKind.Virtual8086, 0x1F230, new(0x2F010, 0xFFFF), new(0x50020, 0xFFFF), 3),
    ];

    public override string ToString() => Name;
}

/// <summary>Base and limit of a segment.</summary>
internal readonly record struct SegmentRange(uint Base, uint Limit);

/// <summary>The rules that a mode goes by.</summary>
internal enum ModeKind
{
    Protected,
    Compatibility,
    Real,
    Virtual8086,
}
