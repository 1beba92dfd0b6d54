using System.Collections.Concurrent;
using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>A network card without a guest: sends what a test gives it and keeps what it receives.</summary>
internal sealed class RecordingAdapter : INetworkAdapter
{
    private readonly ConcurrentQueue<(FrameOffload Offload, byte[] Frame)> _outgoing = new();
    private readonly BlockingCollection<(FrameOffload Offload, byte[] Frame)> _incoming = [];
    private readonly INetworkBackend _backend;
    private volatile bool _isFull;

    internal RecordingAdapter(INetworkBackend backend)
    {
        _backend = backend;
        backend.Attach(this);
    }

    internal Exception? Failure { get; private set; }

    /// <summary>True while the guest has no room.</summary>
    internal bool IsFull
    {
        get => _isFull;
        set
        {
            _isFull = value;
            _backend.Wake();
        }
    }

    public bool Transmit()
    {
        if (!_outgoing.TryDequeue(out (FrameOffload Offload, byte[] Frame) next))
            return false;
        _backend.Send(next.Offload, next.Frame);
        return true;
    }

    public bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment)
    {
        if (_isFull)
            return false;
        _incoming.Add((offload, frame.ToArray()));
        return true;
    }

    public void Fail(Exception error) => Failure = error;

    internal void Send(byte[] frame, FrameOffload offload = default)
    {
        _outgoing.Enqueue((offload, [.. frame]));
        _backend.Wake();
    }

    /// <summary>The next frame that fits a condition; others are dropped.</summary>
    internal (FrameOffload Offload, byte[] Frame) Next(Func<byte[], bool>? condition = null)
    {
        while (_incoming.TryTake(out (FrameOffload Offload, byte[] Frame) next, TimeSpan.FromSeconds(30)))
        {
            if (condition?.Invoke(next.Frame) ?? true)
                return next;
        }

        throw new TimeoutException($"no such frame has come ({Failure?.Message ?? "no failure"})");
    }

    internal bool HasReceived() => _incoming.Count != 0;
}
