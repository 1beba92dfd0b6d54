namespace Doppel.Vmm.Control;

/// <summary>A running machine's answer: one line of JSON, with an error or with what was asked for.</summary>
public sealed record ControlReply
{
    /// <summary>Why there is no answer: what was given and what would be right. Null when there is one.</summary>
    public string? Error { get; init; }

    /// <summary>The answer to <see cref="ControlRequest.Statistics"/>.</summary>
    public MachineStatistics? Statistics { get; init; }
}
