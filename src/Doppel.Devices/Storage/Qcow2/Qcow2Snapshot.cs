namespace Doppel.Devices.Storage.Qcow2;

/// <summary>An internal snapshot.</summary>
public sealed record Qcow2Snapshot
{
    /// <summary>A number that no other snapshot of the image has.</summary>
    public required string Id { get; init; }

    /// <summary>What its maker called it.</summary>
    public required string Name { get; init; }

    /// <summary>When it was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>Bytes of the disk then.</summary>
    public required ulong Length { get; init; }

    /// <summary>Bytes of the saved state of a VM; 0 for none.</summary>
    public ulong StateLength { get; init; }

    /// <summary>How long the guest had run.</summary>
    public TimeSpan GuestTime { get; init; }

    internal ulong L1Offset { get; init; }

    internal uint L1Entries { get; init; }

    /// <summary>Fields behind those that are known, kept as they are.</summary>
    internal byte[] Extra { get; init; } = [];
}
