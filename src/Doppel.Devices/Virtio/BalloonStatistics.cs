namespace Doppel.Devices.Virtio;

/// <summary>What a guest last said of its memory (virtio 1.2, 5.5.6.4), in bytes or numbers of events; null for what it doesn't say.</summary>
public sealed record BalloonStatistics
{
    /// <summary>Bytes swapped in.</summary>
    public ulong? SwappedIn { get; init; }

    /// <summary>Bytes swapped out.</summary>
    public ulong? SwappedOut { get; init; }

    /// <summary>Page faults that needed a disk.</summary>
    public ulong? MajorFaults { get; init; }

    /// <summary>Other page faults.</summary>
    public ulong? MinorFaults { get; init; }

    /// <summary>Bytes not used for anything.</summary>
    public ulong? Free { get; init; }

    /// <summary>Bytes that the guest has.</summary>
    public ulong? Total { get; init; }

    /// <summary>Bytes that could be had without swapping.</summary>
    public ulong? Available { get; init; }

    /// <summary>Bytes of disk caches.</summary>
    public ulong? Caches { get; init; }

    internal BalloonStatistics With(int tag, ulong value) => tag switch
    {
        0 => this with { SwappedIn = value },
        1 => this with { SwappedOut = value },
        2 => this with { MajorFaults = value },
        3 => this with { MinorFaults = value },
        4 => this with { Free = value },
        5 => this with { Total = value },
        6 => this with { Available = value },
        7 => this with { Caches = value },
        _ => this,
    };
}
