using System.Globalization;
using Doppel.Vmm.Control;

namespace Doppel.Vmm.Migration;

/// <summary>Where a migration is.</summary>
public enum MigrationPhase
{
    /// <summary>Source and target compare what they are.</summary>
    Checking,

    /// <summary>Disks are copied while the guest runs.</summary>
    Disks,

    /// <summary>Memory is copied while the guest runs.</summary>
    Memory,

    /// <summary>The guest stands still: the rest of memory, devices and disks go over.</summary>
    Stopping,

    /// <summary>The target has all and has been told to go on; its answer decides where the machine is.</summary>
    HandingOver,

    /// <summary>The answer got lost: the machine stands still until the target can be asked, for it may run there.</summary>
    InDoubt,

    /// <summary>The machine runs at the target; pages that it has not got yet are sent after it. If that fails it is lost.</summary>
    PostCopy,

    /// <summary>The machine runs at the target.</summary>
    Completed,

    /// <summary>It came to nothing; the machine goes on at the source.</summary>
    Failed,
}

/// <summary>How far a migration is.</summary>
public sealed record MigrationProgress
{
    /// <summary>Tells it from the ones before: greater each time.</summary>
    public long Sequence { get; init; }

    /// <summary>Where it is.</summary>
    public required MigrationPhase Phase { get; init; }

    /// <summary>Rounds over memory so far, from 1.</summary>
    public int Round { get; init; }

    /// <summary>Bytes of the guest's RAM.</summary>
    public ulong MemoryBytes { get; init; }

    /// <summary>Bytes of the guest's disks that are copied along.</summary>
    public ulong DiskBytes { get; init; }

    /// <summary>Bytes of memory and disks that are still to be sent, as far as that is known.</summary>
    public ulong RemainingBytes { get; init; }

    /// <summary>Bytes that went over the wire.</summary>
    public ulong SentBytes { get; init; }

    /// <summary>Pages that were sent with their bytes.</summary>
    public ulong Pages { get; init; }

    /// <summary>Pages of zeros, which take next to nothing.</summary>
    public ulong ZeroPages { get; init; }

    /// <summary>Bytes of memory a second that reach the target.</summary>
    public double Throughput { get; init; }

    /// <summary>Bytes of memory a second that the guest dirties.</summary>
    public double DirtyRate { get; init; }

    /// <summary>Percent of the vCPUs' time that is taken from them so that it comes to an end.</summary>
    public int Throttle { get; init; }

    /// <summary>Seconds since the beginning.</summary>
    public double Seconds { get; init; }

    /// <summary>Seconds until the machine is there, at the present rates; null when that can't be said.</summary>
    public double? RemainingSeconds { get; init; }

    /// <summary>Seconds that the guest stood still; null before it went on.</summary>
    public double? DowntimeSeconds { get; init; }

    /// <summary>Why it came to nothing, or what it waits for; null for nothing.</summary>
    public string? Message { get; init; }

    /// <summary>What was done otherwise than asked for, and why; null for nothing.</summary>
    public string? Notice { get; init; }

    /// <summary>Pages that were sent after the machine.</summary>
    public ulong LatePages { get; init; }

    /// <summary>The same as the progress of any operation, for who follows it.</summary>
    public OperationProgress ToOperation()
    {
        ulong total = Phase == MigrationPhase.Disks ? DiskBytes : MemoryBytes;
        bool isCounted = Phase is MigrationPhase.Disks or MigrationPhase.Memory && total != 0;
        return new OperationProgress(Phase switch
        {
            MigrationPhase.Memory => string.Create(CultureInfo.InvariantCulture, $"memory, round {Round}"),
            MigrationPhase.HandingOver => "handing over",
            MigrationPhase.InDoubt => "in doubt",
            MigrationPhase.PostCopy => "memory that is left",
            _ => Phase.ToString().ToLowerInvariant(),
        })
        {
            Done = isCounted && RemainingBytes < total ? total - RemainingBytes : 0,
            Total = isCounted ? total : 0,
            Unit = isCounted ? "bytes" : null,
            RemainingSeconds = RemainingSeconds,
            Detail = Message ?? Notice ?? (Throughput == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{Throughput / 1e6:0} MB/s, the guest writes {DirtyRate / 1e6:0} MB/s{(Throttle == 0 ? "" : $", slowed down by {Throttle} %")}")),
        };
    }

    /// <summary>True when nothing more will happen.</summary>
    public bool IsOver => Phase is MigrationPhase.Completed or MigrationPhase.Failed;
}
