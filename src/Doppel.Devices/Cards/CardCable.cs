using Doppel.Devices.Network;

namespace Doppel.Devices.Cards;

/// <summary>
/// Between a card that moves finished Ethernet frames and what its cable leads to: frames to send are copied out of guest memory
/// under the I/O lock and sent without it; what has come is finished, and cut into segments, before the card gets it.
/// </summary>
internal sealed class CardCable : INetworkAdapter, IDisposable
{
    private const int Batch = 16;
    private const int EthernetLength = 14;
    private const int ShortestFrame = 60;
    private readonly string _name;
    private readonly IFrameCard _card;
    private readonly INetworkBackend _backend;
    private readonly DevicePlatform _platform;
    private readonly CardFrame[] _batch = new CardFrame[Batch];
    private readonly byte[] _segment = new byte[CardFrame.MaximumLength];
    private bool _isHeld;
    private bool _isPulled;
    private bool _isDisposed;

    /// <summary>Connects a card.</summary>
    /// <param name="name">The card, for reports.</param>
    /// <param name="card">The card.</param>
    /// <param name="backend">What its cable leads to; not disposed with it.</param>
    /// <param name="platform">What it is given of the machine.</param>
    internal CardCable(string name, IFrameCard card, INetworkBackend backend, DevicePlatform platform)
    {
        (_name, _card, _backend, _platform) = (name, card, backend, platform);
        for (int i = 0; i < Batch; i++)
            _batch[i] = new CardFrame();
        _backend.ConnectionChanged += OnConnectionChanged;
        _backend.Attach(this);
    }

    /// <summary>As <see cref="INetworkCard.IsPluggedIn"/>. Takes the I/O lock.</summary>
    internal bool IsPluggedIn
    {
        get
        {
            lock (_platform.IoLock)
                return !_isPulled;
        }

        set
        {
            lock (_platform.IoLock)
            {
                if (_isPulled != value)
                    return;
                _isPulled = !value;
                _card.OnLinkChanged();
            }
        }
    }

    /// <summary>True while there is a link.</summary>
    internal bool HasLink => !_isPulled && _backend.IsConnected;

    /// <summary>There are frames to send, or there is room for frames again.</summary>
    internal void Wake()
    {
        if (!_isHeld)
            _backend.Wake();
    }

    /// <summary>As <see cref="IBackgroundDevice.HoldAsync"/>: what is sent without the lock no longer needs guest memory. Takes the I/O lock.</summary>
    internal Task HoldAsync()
    {
        lock (_platform.IoLock)
            _isHeld = true;
        return Task.CompletedTask;
    }

    /// <summary>As <see cref="IBackgroundDevice.Release"/>. Takes the I/O lock.</summary>
    internal void Release()
    {
        lock (_platform.IoLock)
            _isHeld = false;
        _backend.Wake();
    }

    /// <summary>The card is held by a restore.</summary>
    internal void HoldForRestore() => _isHeld = true;

    /// <inheritdoc/>
    public bool Transmit()
    {
        int count = 0, most = Math.Min(Batch, _backend.MostFrames);
        lock (_platform.IoLock)
        {
            if (_isHeld || _isDisposed)
                return false;
            while (count < most && _card.TryTake(_batch[count]))
                count++;
            if (count != 0)
                _card.OnTaken();
        }

        for (int i = 0; i < count; i++)
            Send(_batch[i]);
        return count == most;
    }

    /// <inheritdoc/>
    public bool Receive(in FrameOffload offload, ReadOnlySpan<byte> frame, ref int segment)
    {
        lock (_platform.IoLock)
        {
            if (_isHeld || _isDisposed || !HasLink || !_card.IsReceiving || frame.Length is < EthernetLength or > CardFrame.MaximumLength)
                return true;
            if (offload.Kind != SegmentKind.None)
            {
                var segments = new FrameSegmenter(offload, frame);
                for (; segment < segments.Count; segment++)
                {
                    if (!Put(segments.Write(segment, _segment)))
                        return false;
                }

                return true;
            }

            frame.CopyTo(_segment);
            if (offload.NeedsChecksum)
                InternetChecksum.Complete(offload, _segment.AsSpan(0, frame.Length));
            return Put(frame.Length);
        }
    }

    /// <inheritdoc/>
    public void Fail(Exception error)
    {
        ArgumentNullException.ThrowIfNull(error);
        _platform.Failed(new InvalidOperationException($"{_name}: the network failed: {error.Message}", error));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_platform.IoLock)
            _isDisposed = true;
        _backend.ConnectionChanged -= OnConnectionChanged;
        _backend.Detach();
    }

    // A wire has no frames shorter than 64 bytes with their check sequence.
    private bool Put(int length)
    {
        if (length < ShortestFrame)
        {
            _segment.AsSpan(length, ShortestFrame - length).Clear();
            length = ShortestFrame;
        }

        return _card.TryPut(_segment.AsSpan(0, length));
    }

    private void Send(CardFrame frame)
    {
        if (frame.Length < EthernetLength || !HasLink)
            return;
        FrameOffload offload = frame.Offload;
        if ((offload.Needed & ~_backend.Offloads) == NetworkOffloads.None)
        {
            _backend.Send(offload, frame.Bytes);
        }
        else if (offload.Kind == SegmentKind.None)
        {
            InternetChecksum.Complete(offload, frame.Bytes);
            _backend.Send(default, frame.Bytes);
        }
        else
        {
            // The back end's thread is the only one that sends and receives.
            byte[] segment = new byte[CardFrame.MaximumLength];
            var segments = new FrameSegmenter(offload, frame.Bytes);
            for (int i = 0; i < segments.Count; i++)
                _backend.Send(default, segment.AsSpan(0, segments.Write(i, segment)));
        }
    }

    private void OnConnectionChanged()
    {
        lock (_platform.IoLock)
            _card.OnLinkChanged();
    }
}
