namespace Doppel.Vmm.Limits;

/// <summary>Limits of what machines may have of the host's processors.</summary>
public static class CpuLimits
{
    /// <summary>A machine's weight unless it has another.</summary>
    public const int DefaultWeight = 100;

    /// <summary>The least weight.</summary>
    public const int SmallestWeight = 1;

    /// <summary>The greatest weight.</summary>
    public const int LargestWeight = 10000;

    /// <summary>The least cap, in processors.</summary>
    public const double SmallestCap = 0.01;

    /// <summary>The greatest cap, in processors.</summary>
    public const double LargestCap = 1024;
}
