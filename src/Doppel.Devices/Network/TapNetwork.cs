using Doppel.Host;
using Doppel.Host.Events;
using Doppel.Host.Network;

namespace Doppel.Devices.Network;

/// <summary>A tap interface of the host (<see cref="TapDevice"/>). Linux finishes what the guest has not, and the other way round.</summary>
public sealed class TapNetwork : PolledNetwork
{
    private const int Burst = 32;
    private readonly TapDevice _tap;
    private readonly byte[] _incoming = new byte[FrameOffload.Length + 65536 + 64];
    private readonly byte[] _outgoing = new byte[FrameOffload.Length + 65536 + 64];

    /// <summary>Attaches to an interface.</summary>
    /// <param name="name">Its name.</param>
    /// <exception cref="HostException">The host refuses.</exception>
    public TapNetwork(string name)
        : base("doppel-net-tap") => _tap = new TapDevice(name, FrameOffload.Length);

    /// <inheritdoc/>
    public override NetworkOffloads Offloads => _tap.HasUdpSegmentation ? NetworkOffloads.All : NetworkOffloads.All & ~NetworkOffloads.Udp;

    /// <inheritdoc/>
    protected override void Forward(in FrameOffload offload, Span<byte> frame)
    {
        offload.Write(_outgoing, 0);
        frame.CopyTo(_outgoing.AsSpan(FrameOffload.Length));
        _ = _tap.Write(_outgoing.AsSpan(0, FrameOffload.Length + frame.Length));
    }

    /// <inheritdoc/>
    protected override void Close() => _tap.Dispose();

    /// <inheritdoc/>
    protected override int Prepare(PollList list)
    {
        // What the guest has no room for stays with the kernel.
        if (!HasPending)
            _ = list.Add(_tap.Descriptor, PollEvents.In);
        return -1;
    }

    /// <inheritdoc/>
    protected override void Work(PollList list)
    {
        for (int i = 0; i < Burst && !HasPending; i++)
        {
            int count = _tap.Read(_incoming);
            if (count < FrameOffload.Length)
                return;
            ReadOnlySpan<byte> frame = _incoming.AsSpan(FrameOffload.Length, count - FrameOffload.Length);
            if (FrameOffload.TryRead(_incoming, frame, out FrameOffload offload))
                Deliver(offload, frame);
        }
    }
}
