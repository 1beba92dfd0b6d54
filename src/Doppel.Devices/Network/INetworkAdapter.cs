namespace Doppel.Devices.Network;

/// <summary>The guest's end of a network: a network card. Its back end's thread calls it, one call at a time.</summary>
public interface INetworkAdapter
{
    /// <summary>Sends some of the frames that the guest has given, through <see cref="INetworkBackend.Send"/>.</summary>
    /// <returns>True when there may be more.</returns>
    bool Transmit();

    /// <summary>Gives a frame to the guest. One that nobody listens for counts as given.</summary>
    /// <param name="offload">What is still to be done to it; what the guest can't do is done here.</param>
    /// <param name="frame">The frame, from its destination address to its last byte without a check sequence.</param>
    /// <param name="segment">0 for a new frame. When it is given again, what the last call left: where in a frame that is cut here to go on.</param>
    /// <returns>False when the guest has no room now. The back end may keep the frame and give it again; <see cref="INetworkBackend.Wake"/> tells that there is room.</returns>
    bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment);

    /// <summary>The back end can't go on, by a fault that no guest can cause.</summary>
    void Fail(Exception error);
}
