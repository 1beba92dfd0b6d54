namespace Doppel.Vmm.Control;

/// <summary>How far an operation is.</summary>
/// <param name="Phase">What it does now, for a person.</param>
public sealed record OperationProgress(string Phase)
{
    /// <summary>What is done of <see cref="Total"/>.</summary>
    public ulong Done { get; init; }

    /// <summary>All there is to do in this phase, as far as is known; 0 for not known.</summary>
    public ulong Total { get; init; }

    /// <summary>What both count: bytes or pages; null for nothing.</summary>
    public string? Unit { get; init; }

    /// <summary>Seconds until its end, as far as can be told; null for not known.</summary>
    public double? RemainingSeconds { get; init; }

    /// <summary>More, for a person; null for nothing.</summary>
    public string? Detail { get; init; }
}
