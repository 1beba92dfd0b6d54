using System.Text.Json;
using System.Text.Json.Nodes;
using Doppel.Devices.Network;
using Doppel.Vmm;
using Doppel.Vmm.Migration;

namespace Doppel.Api;

/// <summary>Asks to move a machine to another daemon.</summary>
public sealed record MigrateRequest
{
    /// <summary>The other daemon: tls://HOST[:PORT], or unix:PATH, its socket on this host.</summary>
    public required string Target { get; init; }

    /// <summary>What is in that daemon's token file; null for unix:PATH, which needs none.</summary>
    public string? Token { get; init; }

    /// <summary>SHA-256 of its certificate, hexadecimal; null to trust whom this daemon's host trusts.</summary>
    public string? Fingerprint { get; init; }

    /// <summary>How long the guest may stand still, in milliseconds.</summary>
    public double Downtime { get; init; } = new MigrationOptions().Downtime.TotalMilliseconds;

    /// <summary>Bytes a second that it may take; 0 for no limit.</summary>
    public ulong Bandwidth { get; init; }

    /// <summary>Connections for memory.</summary>
    public int Connections { get; init; } = new MigrationOptions().Connections;

    /// <summary>Whether memory is compressed on its way.</summary>
    public MigrationCompression Compression { get; init; }

    /// <summary>True to copy the disks along; false when the other host sees the same images.</summary>
    public bool CopyDisks { get; init; }

    /// <summary>Whether the machine may go on there before all of its memory has come.</summary>
    public PostCopyChoice PostCopy { get; init; }

    /// <summary>The engine to go on under; null for the present one.</summary>
    public string? Engine { get; init; }

    /// <summary>The same for the worker.</summary>
    public MigrationOptions ToOptions() => new() { Downtime = TimeSpan.FromMilliseconds(Math.Clamp(Downtime, 0, 1e9)), Bandwidth = Bandwidth, Connections = Connections, Compression = Compression, CopyDisks = CopyDisks, PostCopy = PostCopy };
}

/// <summary>Asks a daemon to prepare for a machine that another sends.</summary>
public sealed record ArrivalRequest
{
    /// <summary>The migration.</summary>
    public required Guid Id { get; init; }

    /// <summary>The machine as the other daemon keeps it; its name must be free.</summary>
    public required MachineRecord Machine { get; init; }

    /// <summary>True when the disks are copied along; false when this host sees the same images.</summary>
    public bool CopyDisks { get; init; }

    /// <summary>True when the machine may go on before all of its memory has come, if this host can do that; null, which an older Doppel takes, for false.</summary>
    public bool? PostCopy { get; init; }

    /// <summary>The machine's folder at the other daemon: boot files in it are copied along even if they are seen here.</summary>
    public string? Folder { get; init; }

    /// <summary>The address of this host to listen on; null for that on which the request has come.</summary>
    public string? Address { get; init; }

    /// <summary>The engine to go on under; null for the present one.</summary>
    public string? Engine { get; init; }

    /// <summary>Reads one, maybe of an older Doppel.</summary>
    /// <exception cref="JsonException">It can't be; the exception says where.</exception>
    public static ArrivalRequest Read(ReadOnlySpan<byte> json)
    {
        ArrivalRequest request = JsonSerializer.Deserialize(json, ApiJson.Default.ArrivalRequest) ?? throw new JsonException("null; an object would be right");
        byte[] machine = JsonSerializer.SerializeToUtf8Bytes(JsonNode.Parse(json)!["machine"]!);
        return request with { Machine = MachineSpecJson.Read(machine, ApiJson.Default.MachineRecord, "spec")! };
    }
}

/// <summary>How an arrival has ended.</summary>
/// <param name="IsAccepted">True when the machine is this daemon's; false when it is not and never will be.</param>
public sealed record ArrivalOutcome(bool IsAccepted);

/// <summary>A machine that is being moved to another host, or was: handover.json in its folder.</summary>
/// <param name="Request">What was asked for, without the token.</param>
/// <param name="Address">Where the other host's process listened.</param>
public sealed record HandoverRecord(MigrateRequest Request, MigrationAddress Address)
{
    /// <summary>True when the other side has it, for good.</summary>
    public bool IsAccepted { get; init; }
}

/// <summary>A machine that its process lets another host have: run/permit.json in its folder. If that takes it, it is that host's.</summary>
/// <param name="Id">The migration.</param>
public sealed record PermitRecord(Guid Id)
{
    /// <summary>How it ended; null as long as it hasn't, or when the process was killed.</summary>
    public MigrationProgress? Progress { get; init; }
}

/// <summary>A machine that is arriving from another host: arriving.json in its folder.</summary>
/// <param name="Machine">The machine as it will be here, but for boot files that come along.</param>
public sealed record ArrivingRecord(MachineRecord Machine)
{
    /// <summary>Where its process listens; null before that says so.</summary>
    public MigrationAddress? Address { get; init; }
}

/// <summary>A machine that has arrived from another host, as its process keeps it: run/accepted.json in its folder.</summary>
/// <param name="Id">The migration.</param>
/// <param name="Files">Boot files that have come along: kernel, initrd, firmware.</param>
/// <param name="Addresses">The addresses of its network cards.</param>
public sealed record AcceptedRecord(Guid Id, IReadOnlyList<string> Files, IReadOnlyList<MacAddress> Addresses);
