namespace Doppel.Engines.Translator;

/// <summary>A translated block in a <see cref="TranslationCache"/>. A block that was dropped keeps its number until its segment is used again.</summary>
internal struct CodeBlock
{
    /// <summary>Its key in <see cref="BlockTable"/>; 0 when it was dropped.</summary>
    internal ulong Key;

    /// <summary>Guest-physical address of its page.</summary>
    internal ulong Page;

    /// <summary>Guest-physical address of the other page that its only instruction is in; <see cref="NoPage"/> for most.</summary>
    internal ulong OtherPage;

    /// <summary>Offset in the cache of its code behind the way in from other pages.</summary>
    internal uint Head;

    /// <summary>Bytes of its code from there on.</summary>
    internal int Length;

    /// <summary>The first of the chained branches that lead to it (<see cref="ChainTable"/>).</summary>
    internal int Incoming;

    /// <summary>The first of its own chained branches.</summary>
    internal int Outgoing;

    /// <summary>No page.</summary>
    internal const ulong NoPage = ulong.MaxValue;
}
