using Doppel.Devices.Virtio;

namespace Doppel.Vmm;

/// <summary>What a machine's balloon has done.</summary>
public sealed record BalloonReport
{
    /// <summary>Bytes that the guest is asked to give.</summary>
    public required ulong Target { get; init; }

    /// <summary>Bytes that the guest has given.</summary>
    public required ulong Given { get; init; }

    /// <summary>Bytes that have gone back to the host since the machine's last reset, those that the guest reported as free included; memory that was used again counts again.</summary>
    public required ulong Freed { get; init; }

    /// <summary>What the guest says of its memory; null when it hasn't said anything.</summary>
    public BalloonStatistics? Guest { get; init; }
}
