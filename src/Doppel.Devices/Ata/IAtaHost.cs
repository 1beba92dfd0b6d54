namespace Doppel.Devices.Ata;

/// <summary>What a drive's cable leads to: the channel of an IDE controller or a port of an AHCI controller. Called with the machine's I/O lock held.</summary>
public interface IAtaHost
{
    /// <summary>The drive's <see cref="AtaDevice.InterruptPending"/> has changed, it has ended a command or offers a block, or it waits for DMA.</summary>
    void OnInterrupt(AtaDevice device);

    /// <summary>Puts data of the drive into memory.</summary>
    /// <returns>How many bytes were taken; fewer than all when the host isn't ready or has no more room. The drive goes on when the host calls <see cref="AtaDevice.ContinueDma"/>.</returns>
    int TakeDma(AtaDevice device, ReadOnlySpan<byte> data);

    /// <summary>Fetches data for the drive from memory.</summary>
    /// <returns>How many bytes were given; see <see cref="TakeDma"/>.</returns>
    int GiveDma(AtaDevice device, Span<byte> data);
}
