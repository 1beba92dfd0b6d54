using Doppel.Devices.Network;
using Doppel.Host.Events;

namespace Doppel.Devices.Tests.Network;

/// <summary>Gives a card's frames back to it, on a thread of its own.</summary>
internal sealed class LoopNetwork() : PolledNetwork("test-net-loop")
{
    private readonly Queue<byte[]> _waiting = [];

    public override NetworkOffloads Offloads => NetworkOffloads.None;

    protected override void Forward(in FrameOffload offload, Span<byte> frame) => _waiting.Enqueue(frame.ToArray());

    protected override void Close()
    {
    }

    protected override int Prepare(PollList list) => _waiting.Count != 0 ? 0 : -1;

    protected override void Work(PollList list)
    {
        while (_waiting.TryDequeue(out byte[]? frame))
            Deliver(default, frame);
    }
}
