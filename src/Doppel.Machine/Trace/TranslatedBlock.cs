namespace Doppel.Machine.Trace;

/// <summary>A block of guest code and the host code that was made from it. Valid only during the call that hands it over.</summary>
public readonly ref struct TranslatedBlock
{
    /// <summary>The block's linear address when it was translated; it may be executed at others, too.</summary>
    public required ulong Linear { get; init; }

    /// <summary>The block's guest-physical address.</summary>
    public required ulong Physical { get; init; }

    /// <summary>Guest instructions that were translated; 0 when the first one is left to the interpreter.</summary>
    public required int Instructions { get; init; }

    /// <summary>The guest code; without a translated instruction, what is known of the first one.</summary>
    public required ReadOnlySpan<byte> Guest { get; init; }

    /// <summary>Where the host code is executed.</summary>
    public required ulong HostAddress { get; init; }

    /// <summary>The host code with its exits.</summary>
    public required ReadOnlySpan<byte> Host { get; init; }
}
