namespace Doppel.Devices.Display;

/// <summary>
/// What a machine's screen shows, for those who look at it: clients, the terminal, screenshots. It outlives the adapters
/// that a machine has between its resets. While somebody watches, it looks 30 times a second for what has changed. Any
/// thread; it takes the I/O lock for moments and never waits for a watcher.
/// </summary>
public sealed class GuestDisplay : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(33);
    private readonly Lock _lock = new();
    private readonly PixelSurface _surface = new();
    private readonly DamageRegion _damage = new();
    private readonly List<DisplayWatcher> _watchers = [];
    private readonly Timer _timer;
    private IDisplayAdapter? _adapter;
    private Lock _ioLock = new();
    private bool _isNew = true;
    private bool _isDisposed;

    /// <summary>Creates a display without an adapter: dark.</summary>
    public GuestDisplay()
    {
        _timer = new Timer(_ => OnTimer());
        _ = _surface.Resize(640, 480);
        _damage.Reset(640, 480);
    }

    /// <summary>Shows the picture of an adapter from now on.</summary>
    /// <param name="adapter">The adapter.</param>
    /// <param name="ioLock">Its machine's I/O lock.</param>
    /// <returns>Ends it; afterwards the adapter isn't used any more.</returns>
    public IDisposable Attach(IDisplayAdapter adapter, Lock ioLock)
    {
        lock (_lock)
        {
            _adapter = adapter;
            _ioLock = ioLock;
            _isNew = true;
        }

        return new Attachment(this, adapter);
    }

    /// <summary>A copy of what the screen shows at this moment.</summary>
    public PixelSurface TakePicture()
    {
        lock (_lock)
        {
            Refresh();
            var copy = new PixelSurface();
            copy.CopyFrom(_surface);
            return copy;
        }
    }

    /// <summary>The characters on the screen at this moment; null when it shows graphics.</summary>
    public TextScreen? ReadText()
    {
        lock (_lock)
        {
            Refresh();
            return _adapter?.ReadText();
        }
    }

    /// <summary>Begins to watch.</summary>
    /// <param name="changed">Told that there is something to take. Any thread; it must return at once.</param>
    public DisplayWatcher Watch(Action changed)
    {
        ArgumentNullException.ThrowIfNull(changed);
        lock (_lock)
        {
            var watcher = new DisplayWatcher(this, changed);
            watcher.Damage.Reset(_surface.Width, _surface.Height);
            watcher.Damage.AddAll();
            _watchers.Add(watcher);
            if (_watchers.Count == 1 && !_isDisposed)
                _ = _timer.Change(TimeSpan.Zero, Interval);
            return watcher;
        }
    }

    /// <summary>Stops looking; watchers hear no more.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            _adapter = null;
        }

        _timer.Dispose();
    }

    /// <summary>Calls back with the surface, which is then guarded; for watchers.</summary>
    internal void Read(Action<PixelSurface> reader)
    {
        lock (_lock)
            reader(_surface);
    }

    internal void Remove(DisplayWatcher watcher)
    {
        lock (_lock)
        {
            _ = _watchers.Remove(watcher);
            if (_watchers.Count == 0 && !_isDisposed)
                _ = _timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }
    }

    private void OnTimer()
    {
        // A look that takes longer than the interval isn't joined by the next.
        if (!_lock.TryEnter())
            return;
        List<Action> told = [];
        try
        {
            Refresh();
            told.AddRange(_watchers.Where(watcher => !watcher.Damage.IsEmpty).Select(watcher => watcher.Changed));
        }
        finally
        {
            _lock.Exit();
        }

        foreach (Action changed in told)
            changed();
    }

    private void Refresh()
    {
        if (_adapter is null)
            return;
        lock (_ioLock)
            _adapter.Capture();
        _adapter.Render(_surface, _damage, _isNew);
        _isNew = false;
        if (_damage.IsEmpty)
            return;
        foreach (DisplayWatcher watcher in _watchers)
            watcher.Damage.Add(_damage);
        _damage.Reset(_surface.Width, _surface.Height);
    }

    private sealed class Attachment(GuestDisplay owner, IDisplayAdapter adapter) : IDisposable
    {
        public void Dispose()
        {
            lock (owner._lock)
            {
                if (owner._adapter == adapter)
                    owner._adapter = null;
            }
        }
    }
}
