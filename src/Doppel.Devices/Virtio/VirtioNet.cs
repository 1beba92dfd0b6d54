using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Doppel.Devices.Network;

namespace Doppel.Devices.Virtio;

/// <summary>
/// Network device (virtio 1.2, 5.1): pairs of queues and a control queue, mergeable receive buffers, and checksums and
/// segmentation left to the device both ways. Frames are moved by the back end's thread (<see cref="INetworkAdapter"/>);
/// each is copied once, so that what was checked can't change any more. What a side can't take unfinished is finished here.
/// </summary>
public sealed partial class VirtioNet : VirtioDevice, INetworkAdapter, INetworkCard
{
    /// <summary>Device type.</summary>
    public const ushort DeviceType = 1;

    /// <summary>PCI class: Ethernet controller.</summary>
    public const uint PciClass = 0x020000;

    /// <summary>Most pairs of queues.</summary>
    public const int MaximumPairs = 16;

    /// <summary>Smallest MTU: what every IPv4 host must take (RFC 791).</summary>
    public const int MinimumMtu = 68;

    /// <summary>Largest MTU: that of an IPv4 packet.</summary>
    public const int MaximumMtu = 65535;

    private const ushort QueueSize = 256;
    private const int EthernetLength = 14;
    private const int MaximumFrame = 65536 + 64;
    private const int Batch = 16;
    private const ushort LinkUp = 1, Announce = 2;
    private readonly INetworkBackend _backend;
    private readonly MacAddress _ownAddress;
    private readonly int? _mtu;
    private readonly int _pairs;
    private readonly VirtioNetFilter _filter = new();
    private readonly byte[] _outgoing = new byte[FrameOffload.Length + MaximumFrame];
    private readonly byte[] _segment = new byte[MaximumFrame];
    private readonly List<VirtioChain> _batch = [];
    private readonly List<VirtioChain> _frameBuffers = [];
    private readonly Queue<VirtioChain> _unsent = [];
    private readonly byte[] _flows = new byte[256];
    private ulong _guestOffloads;
    private int _activePairs = 1;
    private int _nextPair;
    private bool _wantsRoom;
    private bool _announces;
    private bool _announcesLater;
    private bool _sendsAnnouncement;
    private bool _isCablePulled;

    /// <summary>Creates a card and attaches it to its back end.</summary>
    /// <param name="name">Name of its saved section, for example "virtio-net0".</param>
    /// <param name="backend">What its cable leads to; not disposed with the device.</param>
    /// <param name="address">Its address until the guest sets another.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="pairs">Number of pairs of queues, 1 to <see cref="MaximumPairs"/>.</param>
    /// <param name="mtu">The MTU that the guest is told, <see cref="MinimumMtu"/> to <see cref="MaximumMtu"/>; null leaves it to the guest, whose drivers take 1500.</param>
    public VirtioNet(string name, INetworkBackend backend, MacAddress address, DevicePlatform platform, int pairs = 1, int? mtu = null)
        : base(name, DeviceType, Offer(pairs, mtu), [.. Enumerable.Repeat(QueueSize, (2 * CheckPairs(pairs)) + 1)], platform)
    {
        ArgumentNullException.ThrowIfNull(backend);
        _backend = backend;
        _ownAddress = address;
        _mtu = mtu;
        _pairs = pairs;
        _filter.Reset(address);
        _backend.ConnectionChanged += OnConnectionChanged;
        _backend.Attach(this);
    }

    /// <inheritdoc/>
    public override int ConfigLength => 12;

    /// <inheritdoc/>
    public bool IsPluggedIn
    {
        get
        {
            lock (Platform.IoLock)
                return !_isCablePulled;
        }

        set
        {
            lock (Platform.IoLock)
            {
                if (_isCablePulled != value)
                    return;
                _isCablePulled = !value;
                ConfigChanged();
            }
        }
    }

    private int ControlQueue => 2 * _pairs;

    private bool HasLink => !_isCablePulled && _backend.IsConnected;

    /// <inheritdoc/>
    public override void ReadConfig(Span<byte> config)
    {
        _filter.Address.Write(config);
        BinaryPrimitives.WriteUInt16LittleEndian(config[6..], (ushort)((HasLink ? LinkUp : 0) | (_announces ? Announce : 0)));
        BinaryPrimitives.WriteUInt16LittleEndian(config[8..], (ushort)_pairs);
        BinaryPrimitives.WriteUInt16LittleEndian(config[10..], (ushort)(_mtu ?? 0));
    }

    /// <inheritdoc/>
    public bool Transmit()
    {
        bool announces;
        MacAddress address;
        lock (Platform.IoLock)
        {
            announces = _sendsAnnouncement && HasLink;
            _sendsAnnouncement &= !announces;
            address = _filter.Address;
            TakeFrames();
        }

        if (announces)
            SendAnnouncement(address);
        if (_batch.Count == 0)
            return false;
        try
        {
            foreach (VirtioChain chain in _batch)
                SendFrame(chain);
        }
        finally
        {
            lock (Platform.IoLock)
                CompleteBatch();
        }

        return true;
    }

    // Whatever its driver can: the card itself has moved.
    private void SendAnnouncement(MacAddress address)
    {
        Span<byte> frame = stackalloc byte[AddressAnnouncement.Length];
        AddressAnnouncement.Write(address, frame);
        _backend.Send(default, frame);
    }

    /// <inheritdoc/>
    public bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment)
    {
        lock (Platform.IoLock)
        {
            if (!IsRunning || !HasLink || frame.Length is < EthernetLength or > MaximumFrame || !_filter.Accepts(frame))
                return true;
            NetworkOffloads missing = offload.Needed & ~GuestCan;
            VirtioQueue queue = Queues[2 * PairOf(frame)];
            if (missing == NetworkOffloads.None)
                return TryPut(queue, offload with { IsChecked = offload.IsChecked && (_guestOffloads & VirtioNetFeature.GuestChecksum) != 0 }, frame);
            return offload.Kind == SegmentKind.None ? PutFinished(queue, offload, frame) : PutSegments(queue, offload, frame, ref segment);
        }
    }

    /// <inheritdoc/>
    public void Fail(Exception error)
    {
        ArgumentNullException.ThrowIfNull(error);
        Platform.Failed(new InvalidOperationException($"{Name}: the network failed: {error.Message}", error));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool isDisposing)
    {
        _backend.ConnectionChanged -= OnConnectionChanged;
        lock (Platform.IoLock)
        {
            while (_unsent.TryDequeue(out VirtioChain? chain))
                Complete(chain, 0);
        }

        base.Dispose(isDisposing);
        _backend.Detach();
    }

    /// <inheritdoc/>
    protected override bool TakesAtOnce(int queue) => queue == ControlQueue;

    /// <inheritdoc/>
    protected override void OnAvailable(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        bool isTransmit = (queue.Index & 1) != 0;
        if (queue.Index / 2 >= _activePairs)
            return;
        if (isTransmit)
            queue.SetNotifications(false);
        else if (!_wantsRoom)
            return;
        _wantsRoom &= isTransmit;
        _backend.Wake();
    }

    /// <inheritdoc/>
    protected override void Handle(VirtioQueue queue, VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(chain);
        if (queue.Index == ControlQueue)
        {
            Control(chain);
        }
        else if ((queue.Index & 1) == 0)
        {
            Complete(chain, 0);
        }
        else
        {
            // One that was being sent when the machine was saved.
            _unsent.Enqueue(chain);
            _backend.Wake();
        }
    }

    /// <inheritdoc/>
    protected override void OnStarted()
    {
        _guestOffloads = DriverFeatures & VirtioNetFeature.GuestOffloads;
        _filter.FiltersVlans = Has(VirtioNetFeature.ControlVlan);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _filter.Reset(_ownAddress);
        _guestOffloads = 0;
        _activePairs = 1;
        _wantsRoom = false;
        _announces = false;
        _announcesLater = false;
        _unsent.Clear();
        Array.Clear(_flows);
    }

    private static ulong Offer(int pairs, int? mtu) =>
        VirtioNetFeature.Common | (pairs > 1 ? VirtioNetFeature.MultipleQueues : 0) | (CheckMtu(mtu) is null ? 0 : VirtioNetFeature.Mtu);

    private static int CheckPairs(int pairs) => pairs is >= 1 and <= MaximumPairs
        ? pairs
        : throw new ArgumentOutOfRangeException(nameof(pairs), pairs, $"a network card has 1 to {MaximumPairs} pairs of queues");

    private static int? CheckMtu(int? mtu) => mtu is null or (>= MinimumMtu and <= MaximumMtu)
        ? mtu
        : throw new ArgumentOutOfRangeException(nameof(mtu), mtu, $"an MTU is {MinimumMtu} to {MaximumMtu}");

    private void OnConnectionChanged()
    {
        lock (Platform.IoLock)
            ConfigChanged();
    }

    /// <summary>Fills the batch with chains to send, pair by pair in turn.</summary>
    private void TakeFrames()
    {
        int most = Math.Min(Batch, _backend.MostFrames);
        while (_batch.Count < most && _unsent.TryDequeue(out VirtioChain? chain))
            _batch.Add(chain);
        for (int i = 0; i < _activePairs && _batch.Count < most; i++)
        {
            VirtioQueue queue = Queues[(2 * ((_nextPair + i) % _activePairs)) + 1];
            while (_batch.Count < most && Take(queue) is VirtioChain chain)
            {
                if (chain.ReadableLength >= FrameOffload.Length)
                {
                    _batch.Add(chain);
                    continue;
                }

                Break($"queue {queue.Index}: a frame to send has {chain.ReadableLength} bytes with its header; {FrameOffload.Length} are the least");
                Complete(chain, 0);
            }
        }

        _nextPair = (_nextPair + 1) % _activePairs;
    }

    private void CompleteBatch()
    {
        // Neighbours of one queue go back together.
        for (int first = 0, end; first < _batch.Count; first = end)
        {
            for (end = first + 1; end < _batch.Count && _batch[end].Queue == _batch[first].Queue; end++)
            {
            }

            CompleteTogether(Queues[_batch[first].Queue], CollectionsMarshal.AsSpan(_batch)[first..end]);
        }

        _batch.Clear();
    }

    /// <summary>Sends what a chain holds. Frames that make no sense are dropped, as a card drops them.</summary>
    private void SendFrame(VirtioChain chain)
    {
        chain.Written = 0;
        if (chain.ReadableLength is < FrameOffload.Length + EthernetLength or > FrameOffload.Length + MaximumFrame || !HasLink)
            return;
        int length = chain.Read(0, _outgoing);
        Span<byte> frame = _outgoing.AsSpan(FrameOffload.Length, length - FrameOffload.Length);
        if (!FrameOffload.TryRead(_outgoing, frame, out FrameOffload offload) || (offload.Needed & ~HostCan) != 0)
            return;
        if (_activePairs > 1)
            _flows[FlowHash.Of(frame)] = (byte)(chain.Queue / 2);
        offload = offload with { IsChecked = false };
        NetworkOffloads missing = offload.Needed & ~_backend.Offloads;
        if (missing == NetworkOffloads.None)
        {
            _backend.Send(offload, frame);
        }
        else if (offload.Kind == SegmentKind.None)
        {
            InternetChecksum.Complete(offload, frame);
            _backend.Send(default, frame);
        }
        else
        {
            var segments = new FrameSegmenter(offload, frame);
            for (int i = 0; i < segments.Count; i++)
                _backend.Send(default, _segment.AsSpan(0, segments.Write(i, _segment)));
        }
    }

    private NetworkOffloads HostCan => (Has(VirtioNetFeature.Checksum) ? NetworkOffloads.Checksum : 0)
        | (Has(VirtioNetFeature.HostTso4) ? NetworkOffloads.Tcp4 : 0) | (Has(VirtioNetFeature.HostTso6) ? NetworkOffloads.Tcp6 : 0)
        | (Has(VirtioNetFeature.HostEcn) ? NetworkOffloads.Ecn : 0) | (Has(VirtioNetFeature.HostUso) ? NetworkOffloads.Udp : 0);

    private NetworkOffloads GuestCan => (Accepts(VirtioNetFeature.GuestChecksum) ? NetworkOffloads.Checksum : 0)
        | (Accepts(VirtioNetFeature.GuestTso4) ? NetworkOffloads.Tcp4 : 0) | (Accepts(VirtioNetFeature.GuestTso6) ? NetworkOffloads.Tcp6 : 0)
        | (Accepts(VirtioNetFeature.GuestEcn) ? NetworkOffloads.Ecn : 0)
        | (Accepts(VirtioNetFeature.GuestUso4 | VirtioNetFeature.GuestUso6) ? NetworkOffloads.Udp : 0);

    private bool Accepts(ulong offloads) => (_guestOffloads & offloads) == offloads;

    /// <summary>Frames of a flow come back where its last one was sent (5.1.6.5.5).</summary>
    private int PairOf(ReadOnlySpan<byte> frame)
    {
        int pair = _activePairs > 1 ? _flows[FlowHash.Of(frame)] : 0;
        return pair < _activePairs ? pair : 0;
    }

    private bool PutFinished(VirtioQueue queue, in FrameOffload offload, ReadOnlySpan<byte> frame)
    {
        Span<byte> finished = _segment.AsSpan(0, frame.Length);
        frame.CopyTo(finished);
        InternetChecksum.Complete(offload, finished);
        return TryPut(queue, default, finished);
    }

    private bool PutSegments(VirtioQueue queue, in FrameOffload offload, ReadOnlySpan<byte> frame, ref int next)
    {
        var segments = new FrameSegmenter(offload, frame);
        for (; next < segments.Count; next++)
        {
            if (!TryPut(queue, default, _segment.AsSpan(0, segments.Write(next, _segment))))
                return false;
        }

        return true;
    }

    /// <summary>Puts a frame into as many buffers as it takes, or into one when the driver doesn't merge them.</summary>
    /// <returns>False when there are not enough: then none is used.</returns>
    private bool TryPut(VirtioQueue queue, in FrameOffload offload, ReadOnlySpan<byte> frame)
    {
        uint wanted = (uint)(FrameOffload.Length + frame.Length);
        bool merges = Has(VirtioNetFeature.MergeableBuffers);
        ulong room = 0;
        _frameBuffers.Clear();
        while (room < wanted && (merges || _frameBuffers.Count == 0))
        {
            if (Take(queue) is not VirtioChain chain)
            {
                GiveBack(queue);
                _wantsRoom = true;
                return !IsRunning;
            }

            _frameBuffers.Add(chain);
            room += chain.WritableLength;
            if (_frameBuffers.Count == 1 && chain.WritableLength < FrameOffload.Length)
            {
                Break($"queue {queue.Index}: a buffer for a frame has {chain.WritableLength} bytes; {FrameOffload.Length} are the least");
                GiveBack(queue);
                return true;
            }
        }

        if (room < wanted)
        {
            // It would be cut off, so it is dropped instead (5.1.6.4).
            GiveBack(queue);
            return true;
        }

        Span<byte> header = stackalloc byte[FrameOffload.Length];
        offload.Write(header, _frameBuffers.Count);
        ReadOnlySpan<byte> rest = frame;
        for (int i = 0; i < _frameBuffers.Count; i++)
        {
            VirtioChain chain = _frameBuffers[i];
            uint offset = i == 0 ? (uint)chain.Write(0, header) : 0;
            int written = chain.Write(offset, rest);
            rest = rest[written..];
            chain.Written = offset + (uint)written;
        }

        CompleteTogether(queue, CollectionsMarshal.AsSpan(_frameBuffers));
        return true;
    }

    private void GiveBack(VirtioQueue queue)
    {
        for (int i = _frameBuffers.Count - 1; i >= 0; i--)
            queue.GiveBack(_frameBuffers[i]);
        _frameBuffers.Clear();
    }
}
