namespace Doppel.Engines.Translator;

/// <summary>How a branch finds the code of its target.</summary>
internal enum CodeSpace
{
    /// <summary>64-bit code at CPL 0.</summary>
    Kernel,

    /// <summary>64-bit code at CPL 3.</summary>
    User,

    /// <summary>32-bit code in a flat segment, at any privilege.</summary>
    Flat32,

    /// <summary>16- and 32-bit code in segments with a base or a limit: the target is an offset in CS.</summary>
    Segmented,
}
