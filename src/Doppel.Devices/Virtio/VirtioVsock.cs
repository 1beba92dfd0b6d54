using System.Buffers.Binary;
using System.Net.Sockets;
using Doppel.Devices.Vsock;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Socket device (virtio 1.2, 5.10): stream connections between ports of the guest and Unix sockets of the host
/// (<see cref="VsockListener"/>). Connections don't outlive a reset, nor a restore, of which the guest is told.
/// </summary>
public sealed class VirtioVsock : VirtioDevice, IVsockLink
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 19;

    /// <summary>PCI class: other communication controller.</summary>
    public const uint PciClass = 0x078000;

    /// <summary>Smallest context id of a guest.</summary>
    public const uint SmallestCid = 3;

    private const ulong StreamFeature = 1UL << 0;
    private const int Receive = 0, Transmit = 1, Events = 2;
    private const int MostConnections = 1024;
    private const int MostWaiting = 1024;
    private const int LargestPacket = 64 << 10;
    private const uint FirstHostPort = 1 << 30;
    private readonly uint _cid;
    private readonly VsockListener _listener;
    private readonly Dictionary<(uint Guest, uint Host), VsockConnection> _connections = [];
    private readonly Queue<VsockPacket> _waiting = new();
    private readonly Queue<VsockConnection> _ready = new();
    private uint _nextHostPort = FirstHostPort;
    private bool _tellsReset;
    private bool _isTransmitting;

    /// <summary>Creates the device.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-vsock0".</param>
    /// <param name="cid">The guest's context id, at least <see cref="SmallestCid"/>.</param>
    /// <param name="listener">The host's side; it is disposed with the device.</param>
    /// <param name="platform">What it is given of the machine.</param>
    public VirtioVsock(string name, uint cid, VsockListener listener, DevicePlatform platform)
        : base(name, DeviceType, StreamFeature, [128, 128, 16], platform)
    {
        ArgumentNullException.ThrowIfNull(listener);
        ArgumentOutOfRangeException.ThrowIfLessThan(cid, SmallestCid);
        _cid = cid;
        _listener = listener;
        _ = listener.AcceptAsync(Connect);
    }

    /// <inheritdoc/>
    public override int ConfigLength => 8;

    /// <summary>Number of connections.</summary>
    public int ConnectionCount
    {
        get
        {
            lock (Platform.IoLock)
                return _connections.Count;
        }
    }

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config) => BinaryPrimitives.WriteUInt64LittleEndian(config, _cid);

    /// <inheritdoc/>
    void IVsockLink.Send(VsockConnection connection, ushort operation, uint flags)
    {
        Enqueue(connection.GuestPort, connection.HostPort, operation, flags);
        PumpReceive();
    }

    /// <inheritdoc/>
    void IVsockLink.Ready(VsockConnection connection)
    {
        if (!_ready.Contains(connection))
            _ready.Enqueue(connection);
        PumpReceive();
    }

    /// <inheritdoc/>
    void IVsockLink.Remove(VsockConnection connection) => _ = _connections.Remove((connection.GuestPort, connection.HostPort));

    /// <inheritdoc/>
    protected override void Dispose(bool isDisposing)
    {
        _listener.Dispose();
        lock (Platform.IoLock)
            EndAll();
        base.Dispose(isDisposing);
    }

    /// <inheritdoc/>
    protected override bool TakesAtOnce(int queue) => false;

    /// <inheritdoc/>
    protected override void OnReset()
    {
        EndAll();
        _tellsReset = false;
        _nextHostPort = FirstHostPort;
    }

    /// <inheritdoc/>
    protected override void OnAvailable(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (queue.Index == Transmit)
            PumpTransmit();
        else if (queue.Index == Receive)
            PumpReceive();
        else
            TellReset();
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        // Chains are returned as soon as they are taken, so that none is ever begun anew.
        ArgumentNullException.ThrowIfNull(chain);
        Complete(chain, 0);
    }

    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_connections.Count != 0 || _tellsReset);
        writer.Write(_nextHostPort);
    }

    /// <inheritdoc/>
    protected override Action ReadDevice(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        bool hadConnections = reader.ReadBool();
        uint nextHostPort = reader.ReadUInt32();
        return () =>
        {
            EndAll();
            _tellsReset = hadConnections;
            _nextHostPort = nextHostPort;
        };
    }

    private void EndAll()
    {
        foreach (VsockConnection connection in _connections.Values.ToArray())
            connection.Dispose();
        _connections.Clear();
        _waiting.Clear();
        _ready.Clear();
    }

    private void Connect(Socket socket, uint guestPort)
    {
        lock (Platform.IoLock)
        {
            // A guest without a driver has nobody who could answer.
            if ((Status & VirtioStatus.DriverOk) == 0 || _connections.Count >= MostConnections)
            {
                socket.Dispose();
                return;
            }

            while (_connections.ContainsKey((guestPort, _nextHostPort)))
                _nextHostPort = NextPort(_nextHostPort);
            var connection = new VsockConnection(guestPort, _nextHostPort, socket, this, Platform.IoLock);
            _nextHostPort = NextPort(_nextHostPort);
            _connections.Add((guestPort, connection.HostPort), connection);
            Enqueue(guestPort, connection.HostPort, VsockPacket.Request, 0);
            PumpReceive();
        }

        static uint NextPort(uint port) => port == int.MaxValue ? FirstHostPort : port + 1;
    }

    private void Enqueue(uint guestPort, uint hostPort, ushort operation, uint flags) => _waiting.Enqueue(new VsockPacket
    {
        SourceCid = VsockPacket.HostCid,
        DestinationCid = _cid,
        SourcePort = hostPort,
        DestinationPort = guestPort,
        Type = VsockPacket.Stream,
        Operation = operation,
        Flags = flags,
        BufferSize = VsockConnection.BufferSize,
    });

    private void PumpTransmit()
    {
        // An answer may make room for more answers in the middle of this.
        if (_isTransmitting)
            return;
        _isTransmitting = true;
        // A guest that takes no answers is asked no further.
        while (_waiting.Count < MostWaiting && Take(Queues[Transmit]) is VirtioChain chain)
        {
            OnChain(chain);
            Complete(chain, 0);
        }

        _isTransmitting = false;
        PumpReceive();
    }

    private void OnChain(VirtioChain chain)
    {
        Span<byte> header = stackalloc byte[VsockPacket.HeaderLength];
        if (chain.Read(0, header) == header.Length)
            OnPacket(VsockPacket.Read(header), chain);
    }

    private void OnPacket(in VsockPacket packet, VirtioChain chain)
    {
        if (packet.SourceCid != _cid || packet.DestinationCid != VsockPacket.HostCid)
            return;
        (uint, uint) key = (packet.SourcePort, packet.DestinationPort);
        VsockConnection? connection = _connections.GetValueOrDefault(key);
        if (packet.Operation == VsockPacket.Reset)
        {
            connection?.Dispose();
            return;
        }

        if (packet.Type != VsockPacket.Stream || (connection is null) != (packet.Operation == VsockPacket.Request) || (connection is null && _connections.Count >= MostConnections))
        {
            Refuse(connection, packet);
            return;
        }

        if (connection is null)
        {
            connection = new VsockConnection(packet.SourcePort, packet.DestinationPort, null, this, Platform.IoLock);
            _connections.Add(key, connection);
            connection.NoteCredit(packet);
            _ = connection.ConnectAsync(_listener.PathOf(packet.DestinationPort));
            return;
        }

        connection.NoteCredit(packet);
        switch (packet.Operation)
        {
            case VsockPacket.Response:
                connection.Accept();
                break;
            case VsockPacket.Data:
                if (packet.Length > LargestPacket || packet.Length > chain.ReadableLength - VsockPacket.HeaderLength)
                {
                    Refuse(connection, packet);
                    break;
                }

                byte[] data = new byte[packet.Length];
                _ = chain.Read(VsockPacket.HeaderLength, data);
                if (!connection.Receive(data))
                    Refuse(connection, packet);
                break;
            case VsockPacket.Shutdown:
                connection.Shutdown(packet.Flags);
                break;
            case VsockPacket.CreditUpdate:
                break;
            case VsockPacket.CreditRequest:
                Enqueue(packet.SourcePort, packet.DestinationPort, VsockPacket.CreditUpdate, 0);
                break;
            default:
                Refuse(connection, packet);
                break;
        }
    }

    private void Refuse(VsockConnection? connection, in VsockPacket packet)
    {
        if (connection is not null)
            connection.End(VsockPacket.Reset);
        else
            Enqueue(packet.SourcePort, packet.DestinationPort, VsockPacket.Reset, 0);
    }

    /// <summary>Gives the guest what waits for it, as far as it has given buffers.</summary>
    private void PumpReceive()
    {
        bool wasFull = _waiting.Count >= MostWaiting && !_isTransmitting;
        VirtioQueue queue = Queues[Receive];
        while (_waiting.Count != 0 || HasReady())
        {
            if (Take(queue) is not VirtioChain chain)
                break;
            if (chain.WritableLength < VsockPacket.HeaderLength)
                Complete(chain, 0);
            else if (_waiting.TryDequeue(out VsockPacket packet))
                Complete(chain, Write(chain, packet, default));
            else
                SendData(chain, _ready.Dequeue());
        }

        if (wasFull && _waiting.Count < MostWaiting)
            PumpTransmit();
    }

    private bool HasReady()
    {
        while (_ready.TryPeek(out VsockConnection? connection) && !connection.HasData)
            _ = _ready.Dequeue();
        return _ready.Count != 0;
    }

    private void SendData(VirtioChain chain, VsockConnection connection)
    {
        ReadOnlyMemory<byte> data = connection.TakeData((int)Math.Min(chain.WritableLength - VsockPacket.HeaderLength, LargestPacket));
        var packet = new VsockPacket
        {
            SourceCid = VsockPacket.HostCid,
            DestinationCid = _cid,
            SourcePort = connection.HostPort,
            DestinationPort = connection.GuestPort,
            Length = (uint)data.Length,
            Type = VsockPacket.Stream,
            Operation = VsockPacket.Data,
            BufferSize = VsockConnection.BufferSize,
        };
        uint written = Write(chain, packet, data.Span);
        // Others have their turn before there is more of it.
        if (connection.HasData)
            _ready.Enqueue(connection);
        Complete(chain, written);
    }

    private uint Write(VirtioChain chain, VsockPacket packet, ReadOnlySpan<byte> data)
    {
        if (_connections.TryGetValue((packet.DestinationPort, packet.SourcePort), out VsockConnection? connection))
        {
            packet = packet with { Forwarded = connection.Forwarded };
            connection.NoteTold();
        }

        Span<byte> header = stackalloc byte[VsockPacket.HeaderLength];
        packet.Write(header);
        _ = chain.Write(0, header);
        return (uint)(VsockPacket.HeaderLength + chain.Write(VsockPacket.HeaderLength, data));
    }

    // Whatever the guest was connected to is gone (5.10.6.7).
    private void TellReset()
    {
        if (!_tellsReset || Take(Queues[Events]) is not VirtioChain chain)
            return;
        _tellsReset = false;
        Span<byte> transportReset = stackalloc byte[4];
        transportReset.Clear();
        Complete(chain, (uint)chain.Write(0, transportReset));
    }
}
