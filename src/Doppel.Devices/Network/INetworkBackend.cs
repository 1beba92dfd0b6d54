namespace Doppel.Devices.Network;

/// <summary>The far end of a network card: what its cable leads to. It works on a thread of its own, and outlives the resets of its machine.</summary>
public interface INetworkBackend : IDisposable
{
    /// <summary><see cref="IsConnected"/> has changed. Any thread, no lock held.</summary>
    event Action? ConnectionChanged;

    /// <summary>What the back end takes unfinished.</summary>
    NetworkOffloads Offloads { get; }

    /// <summary>True while the cable has a far end.</summary>
    bool IsConnected { get; }

    /// <summary>Begins to call a card. There is none attached.</summary>
    void Attach(INetworkAdapter adapter);

    /// <summary>Stops calling it; returns when no call is under way. Not with a lock held that the card needs. Nothing happens when none is attached.</summary>
    void Detach();

    /// <summary>The card has frames to send, or room for frames again. Any thread; returns at once.</summary>
    void Wake();

    /// <summary>Most frames that one call of <see cref="INetworkAdapter.Transmit"/> is to send: few where a limit counts them.</summary>
    int MostFrames => int.MaxValue;

    /// <summary>Takes a frame from within <see cref="INetworkAdapter.Transmit"/>. One that can't be sent is lost, as on any network.</summary>
    /// <param name="offload">What is still to be done to it; nothing that <see cref="Offloads"/> doesn't have.</param>
    /// <param name="frame">The frame, at least an Ethernet header; the back end may change it.</param>
    void Send(in FrameOffload offload, Span<byte> frame);
}
