using System.Buffers.Binary;
using System.Threading.Channels;
using Doppel.Devices.Network;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Migration;

/// <summary>
/// What networks bring to the old host for a guest that stands still, and until all switches have learned where it is now: it is
/// sent after it, or given back to it when it stays. Without this whoever sent it would wait a fifth of a second to send it again.
/// </summary>
internal sealed class LateFrames
{
    private const int MostBytes = 4 << 20, MostBatch = 256 << 10, HeaderLength = 1 + FrameOffload.Length + sizeof(int), MostFrame = 1 << 17;
    private readonly List<(int Card, PolledNetwork Network)> _networks = [];
    private readonly Channel<LateFrame> _frames = Channel.CreateUnbounded<LateFrame>(new UnboundedChannelOptions { SingleReader = true });
    private int _bytes;

    /// <summary>Begins to keep what comes. The guest stands still.</summary>
    internal LateFrames(IReadOnlyList<MachineNetwork> networks)
    {
        for (int i = 0; i < networks.Count; i++)
        {
            if (networks[i].Backend is not PolledNetwork { IsMovable: true } network)
                continue;
            int card = i;
            _networks.Add((card, network));
            network.Divert((offload, frame) => Take(new LateFrame(card, offload, frame)));
        }
    }

    /// <summary>The guest stays: it gets what came.</summary>
    internal void Return()
    {
        foreach ((_, PolledNetwork network) in _networks)
            network.Divert(null);
        while (_frames.Reader.TryRead(out LateFrame frame))
            _networks.First(own => own.Card == frame.Card).Network.Inject(frame.Offload, frame.Bytes);
    }

    /// <summary>Sends what came and comes, until something has happened.</summary>
    /// <param name="control">The connection.</param>
    /// <param name="until">What.</param>
    /// <param name="cancel">Ends it.</param>
    internal async Task SendAsync(MigrationStream control, Task until, CancellationToken cancel)
    {
        if (_networks.Count == 0)
            return;
        while (true)
        {
            if (Batch() is { Length: not 0 } batch)
            {
                await control.SendAsync(FrameKind.Late, batch, cancel).ConfigureAwait(false);
                continue;
            }

            if (until.IsCompleted)
                return;
            _ = await Task.WhenAny(_frames.Reader.WaitToReadAsync(cancel).AsTask(), until).ConfigureAwait(false);
        }
    }

    /// <summary>Gives the guest what was sent after it; what makes no sense is passed over, as on any network.</summary>
    internal static void Deliver(ReadOnlySpan<byte> batch, IReadOnlyList<MachineNetwork> networks)
    {
        while (batch.Length >= HeaderLength)
        {
            int card = batch[0], length = BinaryPrimitives.ReadInt32LittleEndian(batch[(HeaderLength - sizeof(int))..]);
            if (length is < 0 or > MostFrame || length > batch.Length - HeaderLength)
                return;
            ReadOnlySpan<byte> frame = batch.Slice(HeaderLength, length);
            if (card < networks.Count && networks[card].Backend is PolledNetwork network && FrameOffload.TryRead(batch[1..], frame, out FrameOffload offload))
                network.Inject(offload, frame.ToArray());
            batch = batch[(HeaderLength + length)..];
        }
    }

    private void Take(LateFrame frame)
    {
        if (Interlocked.Add(ref _bytes, frame.Bytes.Length) <= MostBytes)
            _ = _frames.Writer.TryWrite(frame);
        else
            _ = Interlocked.Add(ref _bytes, -frame.Bytes.Length);
    }

    private byte[] Batch()
    {
        var batch = new MemoryStream();
        Span<byte> header = stackalloc byte[HeaderLength];
        while (batch.Length < MostBatch && _frames.Reader.TryRead(out LateFrame frame))
        {
            _ = Interlocked.Add(ref _bytes, -frame.Bytes.Length);
            header[0] = (byte)frame.Card;
            frame.Offload.Write(header[1..], 0);
            BinaryPrimitives.WriteInt32LittleEndian(header[(HeaderLength - sizeof(int))..], frame.Bytes.Length);
            batch.Write(header);
            batch.Write(frame.Bytes);
        }

        return batch.ToArray();
    }

    private readonly record struct LateFrame(int Card, FrameOffload Offload, byte[] Bytes);
}
