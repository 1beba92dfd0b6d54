namespace Doppel.Vmm.Lockstep;

/// <summary>The outcome of a comparison.</summary>
public sealed record LockstepResult
{
    /// <summary>Instructions that both engines retired equally.</summary>
    public required ulong Instructions { get; init; }

    /// <summary>How the guest ended, the same on both engines; null when it did not.</summary>
    public string? End { get; init; }

    /// <summary>The first difference; null when there is none.</summary>
    public LockstepDifference? Difference { get; init; }

    /// <summary>What the guest wrote to its console, as UTF-8 text.</summary>
    public required string Console { get; init; }
}
