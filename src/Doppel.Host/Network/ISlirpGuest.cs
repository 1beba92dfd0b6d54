namespace Doppel.Host.Network;

/// <summary>Where <see cref="Slirp"/> sends what is for the guest.</summary>
public interface ISlirpGuest
{
    /// <summary>Takes a frame. The bytes may be changed, and are gone when the call returns.</summary>
    void Receive(Span<byte> frame);
}
