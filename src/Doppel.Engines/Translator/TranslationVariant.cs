namespace Doppel.Engines.Translator;

/// <summary>What a block was translated for, beside its bytes: the table that <see cref="TranslatedPage.Table"/> answers with.</summary>
[Flags]
internal enum TranslationVariant
{
    /// <summary>Vector instructions run natively, at CPL 0, 1 or 2.</summary>
    None = 0,

    /// <summary>Vector instructions may trap (CR0.TS and its kin) and are interpreted.</summary>
    TrappedVectors = 1,

    /// <summary>CPL 3: privileged instructions are left to the interpreter, which raises their faults.</summary>
    User = 2,

    /// <summary>Every access is checked alone; where a range of several crosses a page.</summary>
    Ungrouped = 4,
}
