using Doppel.Host;
using Doppel.Host.Timers;
using Doppel.Machine.State;

namespace Doppel.Machine.Time;

/// <summary>
/// Guest time that follows the host's monotonic clock while the machine runs. It starts paused at 0; <see cref="Resume"/>
/// lets it go. Timers fire on a thread of the clock, which sleeps in the kernel until the first deadline, with the I/O
/// lock held.
/// </summary>
/// <remarks>
/// The TSC counts at a fixed rate, on every host the same, so that a VM can be saved here and continue there; at the
/// usual 1 GHz it is the time in nanoseconds. <see cref="WallClock"/> follows the guest's time from the moment at which
/// the clock was last resumed, when it was set by the host's.
/// </remarks>
public sealed class HostClock : IGuestClock, IStateful, IDisposable
{
    /// <summary>Ticks of the TSC in a second unless another rate is asked for.</summary>
    public const ulong DefaultTscFrequency = 1_000_000_000;

    private readonly Lock _ioLock;
    private readonly Lock _programLock = new();
    private readonly Action<Exception>? _onFault;
    private readonly VirtualTimerQueue _queue;
    private readonly DeadlineTimer _host = new();
    private readonly Thread _thread;
    private readonly ulong _tscMultiplier;
    private readonly bool _isTscNanoseconds;
    private readonly TimeSpan _wallOffset;
    private volatile TimeBase _base = new(false, 0, DateTimeOffset.UnixEpoch);
    private long _programmed = long.MaxValue;
    private bool _isDisposed;

    /// <summary>Creates a paused clock at 0 and its thread.</summary>
    /// <param name="ioLock">The machine's I/O lock: held during callbacks, and taken by <see cref="Pause"/> and <see cref="Resume"/>.</param>
    /// <param name="tscFrequency">Ticks of the TSC in a second: 1 MHz to 16 GHz.</param>
    /// <param name="wallOffset">Added to the host's wall clock to give the guest's.</param>
    /// <param name="onFault">Told of an exception that escaped a timer's callback; without it, such an exception ends the process.</param>
    /// <exception cref="HostException">The host has no timer left.</exception>
    public HostClock(Lock ioLock, ulong tscFrequency = DefaultTscFrequency, TimeSpan wallOffset = default, Action<Exception>? onFault = null)
    {
        if (tscFrequency is < 1_000_000 or > 16_000_000_000)
            throw new ArgumentOutOfRangeException(nameof(tscFrequency), tscFrequency, "the TSC's rate must be 1 MHz to 16 GHz");
        _ioLock = ioLock;
        _onFault = onFault;
        _wallOffset = wallOffset;
        TscFrequency = tscFrequency;
        _isTscNanoseconds = tscFrequency == 1_000_000_000;
        _tscMultiplier = (ulong)(((UInt128)tscFrequency << 32) / 1_000_000_000);
        _queue = new VirtualTimerQueue(Program);
        _base = new TimeBase(false, 0, DateTimeOffset.UtcNow + wallOffset);
        _thread = new Thread(RunTimers) { IsBackground = true, Name = "doppel-clock" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public bool IsDeterministic => false;

    /// <inheritdoc/>
    public ulong TscFrequency { get; }

    /// <inheritdoc/>
    public string SectionName => "clock";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <summary>True between <see cref="Resume"/> and <see cref="Pause"/>.</summary>
    public bool IsRunning => _base.IsRunning;

    /// <inheritdoc/>
    public long Now
    {
        get
        {
            // The base is one immutable object, so a reader sees the old one or the new; one that read the host's clock
            // after the old base had ended must ask again, or it would see time that never was.
            while (true)
            {
                TimeBase current = _base;
                long now = current.IsRunning ? DeadlineTimer.Now - current.Value : current.Value;
                if (ReferenceEquals(current, _base))
                    return now;
            }
        }
    }

    /// <inheritdoc/>
    public ulong Tsc => _isTscNanoseconds ? (ulong)Now : (ulong)(((UInt128)(ulong)Now * _tscMultiplier) >> 32);

    /// <inheritdoc/>
    public DateTimeOffset WallClock => _base.Epoch.AddTicks(Now / 100);

    /// <inheritdoc/>
    public IGuestTimer CreateTimer(string name, Action callback) => _queue.Create(name, callback);

    /// <summary>Lets time go on from where it stopped. Any thread; nothing happens when it runs.</summary>
    public void Resume()
    {
        lock (_ioLock)
        {
            if (_base.IsRunning)
                return;
            long now = _base.Value;
            _base = new TimeBase(true, DeadlineTimer.Now - now, DateTimeOffset.UtcNow + _wallOffset - TimeSpan.FromTicks(now / 100));
        }

        Program();
    }

    /// <summary>Stops time. When it returns, no callback runs and none will until <see cref="Resume"/>. Any thread.</summary>
    public void Pause()
    {
        lock (_ioLock)
        {
            if (_base.IsRunning)
                _base = new TimeBase(false, Now, _base.Epoch);
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer) => writer.Write(Now);

    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">The clock runs.</exception>
    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"clock: version {version} is unknown; {SectionVersion} is expected");
        long now = reader.ReadInt64();
        if (now < 0)
            throw new InvalidDataException($"clock: time is {now} ns; it must not be negative");
        lock (_ioLock)
        {
            if (_base.IsRunning)
                throw new InvalidOperationException("the clock runs; pause it before its state is restored");
            _base = new TimeBase(false, now, DateTimeOffset.UtcNow + _wallOffset - TimeSpan.FromTicks(now / 100));
        }
    }

    /// <summary>Stops time and the thread. Not from a timer's callback.</summary>
    public void Dispose()
    {
        Pause();
        lock (_programLock)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            _host.Set(0);
        }

        _thread.Join();
        _host.Dispose();
    }

    // Sets the kernel's timer for the first deadline. It never needs to be moved back: waking too early does no harm.
    // Reading the deadline and setting the timer are one step, or a late deadline could overwrite an earlier one.
    private void Program()
    {
        lock (_programLock)
        {
            TimeBase current = _base;
            long? deadline = _queue.NextDeadline;
            if (_isDisposed || !current.IsRunning || deadline is null)
                return;
            long wanted = deadline.Value >= long.MaxValue - current.Value ? long.MaxValue : deadline.Value + current.Value;
            if (wanted >= _programmed)
                return;
            _programmed = wanted;
            _host.Set(wanted);
        }
    }

    private void RunTimers()
    {
        while (true)
        {
            _host.Wait();
            lock (_programLock)
            {
                if (_isDisposed)
                    return;
                _programmed = long.MaxValue;
            }

            while (FireNext())
            {
            }

            Program();
        }
    }

    private bool FireNext()
    {
        lock (_ioLock)
        {
            VirtualTimer? timer = _base.IsRunning ? _queue.TakeDue(Now) : null;
            if (timer is null)
                return false;
            try
            {
                timer.Fire();
            }
            catch (Exception e) when (_onFault is not null)
            {
                _onFault(new InvalidOperationException($"timer {timer.Name}: {e.Message}", e));
            }

            return true;
        }
    }

    // While it runs, the value is the host's time at guest time 0; while it stands, the guest's time.
    private sealed class TimeBase(bool isRunning, long value, DateTimeOffset epoch)
    {
        internal bool IsRunning { get; } = isRunning;

        internal long Value { get; } = value;

        internal DateTimeOffset Epoch { get; } = epoch;
    }
}
