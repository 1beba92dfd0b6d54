namespace Doppel.Engines.Translator;

/// <summary>What a block was translated for, beside its bytes; a part of its key in <see cref="BlockTable"/>.</summary>
/// <remarks>Bits 3 to 5 are the mode of the code (<see cref="Mode"/>): a number, not flags.</remarks>
[Flags]
internal enum TranslationVariant
{
    /// <summary>64-bit code; vector instructions run natively; CPL 0, 1 or 2.</summary>
    None = 0,

    /// <summary>Vector instructions may trap (CR0.TS and its kin) and are interpreted.</summary>
    TrappedVectors = 1,

    /// <summary>CPL 3: privileged instructions are left to the interpreter, which raises their faults.</summary>
    User = 2,

    /// <summary>Every access is checked alone; where a range of several crosses a page.</summary>
    Ungrouped = 4,

    /// <summary>32-bit code; CS, DS, ES and SS span the linear addresses from 0 to 4 GiB, data and stack are writable, SS.B is set.</summary>
    Flat32 = 1 << 3,

    /// <summary>32-bit code in other segments; SS.B is set.</summary>
    Segmented32 = 2 << 3,

    /// <summary>The same with SS.B clear.</summary>
    Segmented32Stack16 = 3 << 3,

    /// <summary>16-bit code of protected mode, SS.B clear.</summary>
    Segmented16 = 4 << 3,

    /// <summary>16-bit code of any mode, SS.B set.</summary>
    Segmented16Stack32 = 5 << 3,

    /// <summary>16-bit code of real or, at CPL 3, of virtual-8086 mode, SS.B clear: loading a segment register shifts.</summary>
    Real = 6 << 3,

    /// <summary>The bits of the mode.</summary>
    Mode = 7 << 3,
}
