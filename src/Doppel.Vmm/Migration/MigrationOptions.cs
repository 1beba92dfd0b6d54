namespace Doppel.Vmm.Migration;

/// <summary>How a machine is moved.</summary>
public sealed record MigrationOptions
{
    /// <summary>Most connections for memory.</summary>
    public const int MaximumConnections = 16;

    /// <summary>Shortest downtime that can be asked for.</summary>
    public static readonly TimeSpan ShortestDowntime = TimeSpan.FromMilliseconds(1);

    /// <summary>Longest downtime that can be asked for.</summary>
    public static readonly TimeSpan LongestDowntime = TimeSpan.FromMinutes(1);

    /// <summary>How long the guest may stand still: it is stopped when what is left can be sent in that time.</summary>
    public TimeSpan Downtime { get; init; } = TimeSpan.FromMilliseconds(60);

    /// <summary>Bytes a second that all connections together may take; 0 for no limit. What is left when the guest stands still is sent without it.</summary>
    public ulong Bandwidth { get; init; }

    /// <summary>Connections for memory, 1 to <see cref="MaximumConnections"/>.</summary>
    public int Connections { get; init; } = 2;

    /// <summary>Whether memory is compressed on its way.</summary>
    public MigrationCompression Compression { get; init; }

    /// <summary>True to copy the disks along; false when the target sees the same images.</summary>
    public bool CopyDisks { get; init; }

    /// <summary>Whether the machine may go on at the target before all of its memory is there.</summary>
    public PostCopyChoice PostCopy { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="MigrationException">One can't be.</exception>
    public void Validate()
    {
        if (Downtime < ShortestDowntime || Downtime > LongestDowntime)
            throw new MigrationException($"a downtime of {Downtime.TotalMilliseconds} ms: {ShortestDowntime.TotalMilliseconds} ms to {LongestDowntime.TotalSeconds} s would be right");
        if (Connections is < 1 or > MaximumConnections)
            throw new MigrationException($"{Connections} connections: 1 to {MaximumConnections} would be right");
        if (Bandwidth is > 0 and < 1 << 16)
            throw new MigrationException($"a bandwidth of {Bandwidth} bytes a second: 64K or more, or 0 for no limit, would be right");
    }
}

/// <summary>Whether a machine may go on at the target before all of its memory is there.</summary>
public enum PostCopyChoice
{
    /// <summary>No.</summary>
    Never,

    /// <summary>When memory is written faster than it is sent and the target can; where it can't, the guest is slowed down.</summary>
    Auto,

    /// <summary>The same, and where the target can't the machine is not moved.</summary>
    Required,
}

/// <summary>Whether memory is compressed on its way.</summary>
public enum MigrationCompression
{
    /// <summary>When that is sooner there than sending it as it is: both are measured all the time.</summary>
    Auto,

    /// <summary>Never.</summary>
    None,

    /// <summary>Always, by Zstandard, when both hosts have its library.</summary>
    Zstandard,
}
