namespace Doppel.Devices.Pc;

/// <summary>A channel of the ISA bus's DMA controllers, as the peripheral on it sees it. Called with the machine's I/O lock held.</summary>
public interface IDmaChannel
{
    /// <summary>Asks for service, or no longer; the controller's status register shows it.</summary>
    void SetRequest(bool asks);

    /// <summary>Moves data.</summary>
    /// <param name="data">The peripheral's data: read, or filled.</param>
    /// <param name="toMemory">True to write memory.</param>
    /// <param name="isTerminal">True when the controller's count has run out with the last byte.</param>
    /// <returns>Bytes moved: fewer than all when the channel isn't ready for this, or after the terminal count.</returns>
    int Transfer(Span<byte> data, bool toMemory, out bool isTerminal);
}
