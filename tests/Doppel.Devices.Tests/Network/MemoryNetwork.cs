using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>A network without a thread: cards are called by whoever wakes them, and what they send is kept.</summary>
public sealed class MemoryNetwork
{
    private readonly List<Socket> _sockets = [];

    /// <summary>What cards may leave unfinished.</summary>
    public NetworkOffloads Offloads { get; set; } = NetworkOffloads.All;

    /// <summary>What cards have sent.</summary>
    public List<(FrameOffload Offload, byte[] Frame)> Sent { get; } = [];

    /// <summary>A new place for a card.</summary>
    public INetworkBackend Connect()
    {
        var socket = new Socket(this);
        lock (_sockets)
            _sockets.Add(socket);
        return socket;
    }

    /// <summary>Gives a frame to all cards; one that has no room gets it when it wakes its socket.</summary>
    public void Deliver(byte[] frame, FrameOffload offload = default)
    {
        foreach (Socket socket in _sockets.ToArray())
            socket.Deliver(offload, frame);
    }

    /// <summary>Plugs all cables in or out.</summary>
    public void SetConnected(bool isConnected)
    {
        foreach (Socket socket in _sockets.ToArray())
            socket.SetConnected(isConnected);
    }

    private sealed class Socket(MemoryNetwork network) : INetworkBackend
    {
        private readonly Lock _gate = new();
        private readonly Queue<(FrameOffload, byte[])> _waiting = [];
        private INetworkAdapter? _adapter;
        private int _segment;

        public event Action? ConnectionChanged;

        public NetworkOffloads Offloads => network.Offloads;

        public bool IsConnected { get; private set; } = true;

        public void Attach(INetworkAdapter adapter) => _adapter = adapter;

        public void Detach() => _adapter = null;

        public void Wake()
        {
            lock (_gate)
            {
                Give();
                while (_adapter is not null && _adapter.Transmit())
                {
                }
            }
        }

        public void Send(in FrameOffload offload, Span<byte> frame)
        {
            lock (network.Sent)
                network.Sent.Add((offload, frame.ToArray()));
        }

        public void Dispose()
        {
        }

        internal void Deliver(FrameOffload offload, byte[] frame)
        {
            lock (_gate)
            {
                _waiting.Enqueue((offload, frame));
                Give();
            }
        }

        internal void SetConnected(bool isConnected)
        {
            IsConnected = isConnected;
            ConnectionChanged?.Invoke();
        }

        private void Give()
        {
            while (_adapter is not null && _waiting.TryPeek(out (FrameOffload Offload, byte[] Frame) next) && _adapter.Receive(next.Offload, next.Frame, ref _segment))
            {
                _ = _waiting.Dequeue();
                _segment = 0;
            }
        }
    }
}
