using System.Diagnostics;
using Doppel.Host.Events;

namespace Doppel.Devices.Network;

/// <summary>
/// What back ends have in common that wait for descriptors: one thread that sends what the card has, receives what has come,
/// and sleeps in between. Frames for which the guest has no room wait for it, up to a limit; a guest that takes none for long
/// loses them, so that it holds up nobody else.
/// </summary>
public abstract class PolledNetwork : INetworkBackend
{
    private const int MaximumPendingBytes = 4 << 20;
    private const int TransmitRounds = 4, LeastPendingBytes = 128 << 10;
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(200);
    private readonly string _name;
    private readonly Lock _gate = new();
    private readonly PollList _list = new();
    private readonly Queue<PendingFrame> _pending = [];
    private INetworkAdapter? _adapter;
    private Thread? _thread;
    private int _pendingBytes;
    private int _pendingSegment;
    private long _pendingSince;
    private bool _isStuck;
    private bool _isEnding;
    private RateLimit? _sending;
    private RateLimit? _receiving;
    private int _pendingLimit = MaximumPendingBytes;
    private bool _waitsToSend;
    private Action<FrameOffload, byte[]>? _taker;

    /// <summary>Creates a back end whose thread starts with the first card.</summary>
    /// <param name="name">Name of its thread.</param>
    protected PolledNetwork(string name) => _name = name;

    /// <inheritdoc/>
    public virtual event Action? ConnectionChanged
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public abstract NetworkOffloads Offloads { get; }

    /// <inheritdoc/>
    public virtual bool IsConnected => true;

    /// <summary>Told of every frame; null for nobody. Set before a card is attached.</summary>
    public GuestAddressWatch? AddressWatch { get; set; }

    /// <summary>True while received frames wait for the guest.</summary>
    protected bool HasPending => _pending.Count != 0;

    /// <summary>True when frames that come here are as good to the same guest on another host.</summary>
    public virtual bool IsMovable => true;

    /// <summary>Wakes the thread.</summary>
    protected EventSignal Signal { get; } = new();

    /// <inheritdoc/>
    public void Attach(INetworkAdapter adapter)
    {
        lock (_gate)
        {
            if (_adapter is not null)
                throw new InvalidOperationException($"{_name} has a card already");
            ObjectDisposedException.ThrowIf(_isEnding, this);
            _adapter = adapter;
            if (_thread is null)
            {
                _thread = new Thread(Run) { IsBackground = true, Name = _name };
                _thread.Start();
            }
        }

        Wake();
    }

    /// <inheritdoc/>
    public void Detach()
    {
        lock (_gate)
        {
            _adapter = null;
            DropPending();
        }
    }

    /// <inheritdoc/>
    public void Wake() => Signal.Set();

    /// <summary>Gives what waits for the guest, and what comes from now on, to somebody else; or to the guest again. Any thread.</summary>
    /// <param name="taker">Who; called by the back end's thread or the caller's, and does not wait. Null for the guest.</param>
    public void Divert(Action<FrameOffload, byte[]>? taker)
    {
        lock (_gate)
        {
            _taker = taker;
            if (taker is null)
                return;
            foreach (PendingFrame frame in _pending)
                taker(frame.Offload, frame.Frame);
            DropPending();
        }

        // The thread may have stopped to look while something waited.
        Wake();
    }

    /// <summary>Gives the guest a frame that came elsewhere, as far as there is room for it to wait. Any thread.</summary>
    public void Inject(in FrameOffload offload, byte[] frame)
    {
        ArgumentNullException.ThrowIfNull(frame);
        lock (_gate)
            Keep(offload, frame, 0);
        Wake();
    }

    /// <inheritdoc/>
    public int MostFrames => _sending is null ? int.MaxValue : 1;

    /// <summary>Limits the bytes of frames a second, either way for itself; 0 for no limit, which costs nothing. Any thread.</summary>
    public void Limit(ulong bytesPerSecond)
    {
        lock (_gate)
        {
            // A fifth of a second's worth waits; what comes beyond is lost, as in any full queue.
            _pendingLimit = bytesPerSecond == 0 ? MaximumPendingBytes : (int)Math.Clamp(bytesPerSecond / 5, LeastPendingBytes, MaximumPendingBytes);
            _sending = bytesPerSecond == 0 ? null : new RateLimit(bytesPerSecond);
            _receiving = bytesPerSecond == 0 ? null : new RateLimit(bytesPerSecond);
        }

        Wake();
    }

    /// <inheritdoc/>
    public void Send(in FrameOffload offload, Span<byte> frame)
    {
        _ = _sending?.Take(frame.Length);
        AddressWatch?.Sent(frame);
        Forward(offload, frame);
    }

    /// <summary>Sends a frame; see <see cref="Send"/>.</summary>
    protected abstract void Forward(in FrameOffload offload, Span<byte> frame);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(isDisposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Ends the thread and closes what the back end holds.</summary>
    protected virtual void Dispose(bool isDisposing)
    {
        lock (_gate)
        {
            if (_isEnding)
                return;
            _isEnding = true;
            _adapter = null;
        }

        Wake();
        _thread?.Join();
        Close();
        Signal.Dispose();
    }

    /// <summary>Closes what the back end holds. Its thread has ended.</summary>
    protected abstract void Close();

    /// <summary>Adds what is to be waited for. The back end's thread.</summary>
    /// <returns>Milliseconds after which to call <see cref="Work"/> in any case; -1 for no limit.</returns>
    protected abstract int Prepare(PollList list);

    /// <summary>Works on what was seen. The back end's thread.</summary>
    protected abstract void Work(PollList list);

    /// <summary>Gives a frame to the guest, now or when it has room. The back end's thread.</summary>
    protected void Deliver(in FrameOffload offload, ReadOnlySpan<byte> frame)
    {
        int segment = 0;
        if (_taker is not null)
        {
            _taker(offload, frame.ToArray());
            return;
        }

        if (_adapter is null)
            return;
        AddressWatch?.Received(frame);
        if (_pending.Count == 0 && (_receiving is null || _receiving.Owed == TimeSpan.Zero) && _adapter.Receive(offload, frame, ref segment))
        {
            _isStuck = false;
            _ = _receiving?.Take(frame.Length);
            return;
        }

        if (!_isStuck)
            Keep(offload, frame, segment);
    }

    // The lock is held.
    private void Keep(in FrameOffload offload, ReadOnlySpan<byte> frame, int segment)
    {
        if (_pendingBytes + frame.Length > _pendingLimit)
            return;
        if (_pending.Count == 0)
        {
            _pendingSegment = segment;
            _pendingSince = Stopwatch.GetTimestamp();
        }

        _pending.Enqueue(new PendingFrame(offload, frame.ToArray()));
        _pendingBytes += frame.Length;
    }

    /// <summary>Gives waiting frames to the guest, as far as there is room.</summary>
    protected void DeliverPending()
    {
        while (_adapter is not null && _pending.TryPeek(out PendingFrame next))
        {
            if (_receiving is not null && _receiving.Owed != TimeSpan.Zero)
            {
                // It is not the guest that has no room.
                _pendingSince = Stopwatch.GetTimestamp();
                return;
            }

            if (!_adapter.Receive(next.Offload, next.Frame, ref _pendingSegment))
            {
                if (Stopwatch.GetElapsedTime(_pendingSince) >= Patience)
                {
                    _isStuck = true;
                    DropPending();
                }

                return;
            }

            _pendingSegment = 0;
            _pendingBytes -= next.Frame.Length;
            _ = _receiving?.Take(next.Frame.Length);
            _pendingSince = Stopwatch.GetTimestamp();
            _ = _pending.Dequeue();
        }
    }

    private void DropPending()
    {
        _pending.Clear();
        _pendingBytes = 0;
        _pendingSegment = 0;
    }

    private void Run()
    {
        try
        {
            bool isBusy = false;
            while (true)
            {
                int woken, timeout;
                lock (_gate)
                {
                    if (_isEnding)
                        return;
                    _list.Clear();
                    woken = _list.Add(Signal.Descriptor, PollEvents.In);
                    timeout = Prepare(_list);
                    if (HasPending && (timeout < 0 || timeout > Patience.TotalMilliseconds))
                        timeout = (int)Patience.TotalMilliseconds;
                    timeout = UntilLimits(timeout);
                }

                _ = _list.Wait(isBusy ? 0 : timeout);
                bool isWoken = _list[woken] != PollEvents.None;
                if (isWoken)
                    Signal.Clear();
                lock (_gate)
                {
                    if (_isEnding)
                        return;
                    DeliverPending();
                    // The card rings when it has something; it need not be asked when only something has come.
                    if (isWoken || isBusy || _waitsToSend)
                        isBusy = TransmitSome();
                    Work(_list);
                }
            }
        }
        catch (Exception e)
        {
            INetworkAdapter? adapter;
            lock (_gate)
                adapter = _adapter;
            adapter?.Fail(e);
        }
    }

    // The thread sleeps no longer than until a limit lets it go on.
    private int UntilLimits(int timeout)
    {
        if (_waitsToSend && _sending is not null)
            timeout = Sooner(timeout, _sending.Owed);
        if (HasPending && _receiving is not null)
            timeout = Sooner(timeout, _receiving.Owed);
        return timeout;
    }

    private static int Sooner(int timeout, TimeSpan owed)
    {
        int milliseconds = (int)Math.Ceiling(owed.TotalMilliseconds);
        return timeout < 0 ? milliseconds : Math.Min(timeout, milliseconds);
    }

    // What has come is looked at in between, however much the guest sends.
    private bool TransmitSome()
    {
        _waitsToSend = false;
        for (int i = 0; i < TransmitRounds; i++)
        {
            if (_sending is not null && _sending.Owed != TimeSpan.Zero)
            {
                _waitsToSend = true;
                return false;
            }

            if (_adapter is null || !_adapter.Transmit())
                return false;
        }

        return true;
    }

    private readonly record struct PendingFrame(FrameOffload Offload, byte[] Frame);
}
