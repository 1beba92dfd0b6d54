namespace Doppel.Vmm.Migration;

/// <summary>What a machine that arrives is to be here.</summary>
public sealed record ArrivalOptions
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>The folder for what comes along: boot files that this host lacks, copied disks. Made when it is needed.</summary>
    public required string Folder { get; init; }

    /// <summary>A folder that goes with the machine at the source: boot files in it are copied even if they are seen here. Null for none.</summary>
    public string? Passing { get; init; }

    /// <summary>The engine to go on under; null for the source's.</summary>
    public string? Engine { get; init; }

    /// <summary>How long the source may take to come.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>What it is connected to; as many console ports as at the source.</summary>
    public MachineConnections Connections { get; init; } = new();

    /// <summary>Brings pages of memory when the machine runs already; null when none come then. Not disposed here.</summary>
    public PostCopy.IPager? Pager { get; init; }

    /// <summary>Why there is no pager where one was wanted; null when nobody has asked for one.</summary>
    public string? NoPostCopy { get; init; }

    /// <summary>Told what is done next; for tests. Null for nobody.</summary>
    public Action<string>? Step { get; init; }

    /// <summary>Completes when the machine, which runs by then, can be reached by its users, too; null when that is at once.</summary>
    public Task? Served { get; init; }

    /// <summary>Told what the machine is here, with its name and paths, before its memory comes. Null for nobody.</summary>
    public Action<MachineSpec>? Prepared { get; init; }
}
