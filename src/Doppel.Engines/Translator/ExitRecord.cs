namespace Doppel.Engines.Translator;

/// <summary>Why emitted code returns to C#.</summary>
internal enum ExitKind : byte
{
    /// <summary>A direct branch whose target was not yet resolved; the exit's jump can be patched.</summary>
    Branch,

    /// <summary>An indirect branch that the emitted look-up could not resolve; the target is in the exit address.</summary>
    Indirect,

    /// <summary>A data access missed the TLB; the linear address is in the exit address.</summary>
    TlbMiss,

    /// <summary>The next instruction must be interpreted.</summary>
    Interpret,

    /// <summary>An event is pending at the head of a block.</summary>
    Event,
}

/// <summary>One place where emitted code leaves, by its number.</summary>
internal readonly unsafe struct ExitRecord
{
    /// <summary>Why.</summary>
    internal ExitKind Kind { get; init; }

    /// <summary>Offset in its page of the instruction that RIP must be at; for a branch, of the target.</summary>
    internal int PageOffset { get; init; }

    /// <summary>Instructions of the block that were counted as retired on entry and have not been.</summary>
    internal int NotRetired { get; init; }

    /// <summary>True when the instruction comes right after a STI that has set IF.</summary>
    internal bool IsInShadow { get; init; }

    /// <summary>For a TLB miss: whether the access writes.</summary>
    internal bool IsWrite { get; init; }

    /// <summary>For a TLB miss: whether the check was for a group of accesses.</summary>
    internal bool IsGrouped { get; init; }

    /// <summary>For a TLB miss: bytes accessed.</summary>
    internal int Size { get; init; }

    /// <summary>For a TLB miss: bytes from the start of the check to where it goes on after a hit, at most 63.</summary>
    internal int CheckBytes { get; init; }

    /// <summary>For a TLB miss: where to go on when the entry was filled (executable mapping).</summary>
    internal nint Retry { get; init; }

    /// <summary>For a branch: to the code in which every access is checked alone.</summary>
    internal bool IsUngrouped { get; init; }

    /// <summary>For a branch: the displacement that can be patched (writable mapping).</summary>
    internal nint PatchSite { get; init; }
}
