namespace Doppel.Engines.Translator;

/// <summary>What a translator has done so far. Written by the vCPU's thread; readers see recent values.</summary>
public sealed class TranslationStatistics
{
    /// <summary>Blocks translated.</summary>
    public ulong Blocks { get; internal set; }

    /// <summary>Guest instructions translated.</summary>
    public ulong Instructions { get; internal set; }

    /// <summary>Branches patched to lead straight to their target.</summary>
    public ulong Chained { get; internal set; }

    /// <summary>Pages dropped because their code was overwritten.</summary>
    public ulong Dropped { get; internal set; }

    /// <summary>Times that the whole cache was emptied.</summary>
    public ulong Flushes { get; internal set; }

    /// <summary>Entries into translated code.</summary>
    public ulong Entries { get; internal set; }

    /// <summary>Returns by reason, indexed as branch, indirect branch, TLB miss, interpreted instruction, event.</summary>
    public ulong[] Exits { get; } = new ulong[5];
}
