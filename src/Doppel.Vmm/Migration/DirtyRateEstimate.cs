namespace Doppel.Vmm.Migration;

/// <summary>What rounds over memory have shown of the guest and the link, and what follows from it. One thread.</summary>
internal sealed class DirtyRateEstimate
{
    // The last rounds count most: guests change what they do.
    private const double Weight = 0.6;

    /// <summary>Bytes of memory a second that the guest dirties; 0 before the first round.</summary>
    internal double DirtyRate { get; private set; }

    /// <summary>Bytes of memory a second that reach the target; 0 before the first round.</summary>
    internal double Throughput { get; private set; }

    /// <summary>Learns from a round.</summary>
    /// <param name="sent">Bytes of memory that were sent.</param>
    /// <param name="dirtied">Bytes of memory that became dirty meanwhile.</param>
    /// <param name="seconds">What it took.</param>
    internal void Add(ulong sent, ulong dirtied, double seconds)
    {
        // Short rounds say little of the link: they are all latency.
        const ulong Telling = 1 << 20;
        seconds = Math.Max(seconds, 1e-4);
        DirtyRate = Mix(DirtyRate, dirtied / seconds);
        if (sent >= Telling || Throughput == 0)
            Throughput = Mix(Throughput, Math.Max(sent, 1) / seconds);
    }

    /// <summary>How long sending so much takes.</summary>
    internal TimeSpan TimeFor(ulong bytes) => Throughput == 0 ? TimeSpan.MaxValue : TimeSpan.FromSeconds(Math.Min(bytes / Throughput, 1e6));

    /// <summary>Seconds until what is left is as little as can be sent in a time; null when it never is.</summary>
    /// <param name="remaining">Bytes that are left.</param>
    /// <param name="downtime">The time.</param>
    internal double? SecondsUntil(ulong remaining, TimeSpan downtime)
    {
        if (Throughput == 0)
            return null;
        double enough = Throughput * downtime.TotalSeconds;
        if (remaining <= enough)
            return remaining / Throughput;
        // Each round leaves what is dirtied while the one before is sent: a geometric series.
        double ratio = DirtyRate / Throughput;
        return ratio >= 0.95 ? null : remaining / Throughput / (1 - ratio);
    }

    private static double Mix(double old, double value) => old == 0 ? value : old + (Weight * (value - old));
}
