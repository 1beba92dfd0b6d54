namespace Doppel.Vmm.Debugging;

/// <summary>What follows from a packet.</summary>
/// <param name="Payload">The reply; null for none, or for one that comes when the target stops.</param>
public sealed record GdbReply(string? Payload)
{
    /// <summary>What the connection does next.</summary>
    public GdbNext Next { get; init; }
}

/// <summary>How a conversation goes on after a packet.</summary>
public enum GdbNext
{
    /// <summary>With the next packet.</summary>
    Talking,

    /// <summary>The target runs: the reply is sent when it stops.</summary>
    Running,

    /// <summary>The debugger leaves; the target runs.</summary>
    Detached,

    /// <summary>The target is ended.</summary>
    Killed,
}
