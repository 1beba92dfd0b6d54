namespace Doppel.Devices.Virtio;

/// <summary>
/// What all virtio devices have in common (virtio 1.2, chapters 2 and 3), whatever transport they are behind: status,
/// features, queues, configuration, and the life of a chain from the queue to the back end and back. A device takes chains
/// while it is running; each ends in <see cref="Complete"/>, at once or later. Everything is called with the machine's I/O
/// lock held. A driver that breaks a rule finds its device in need of a reset; nothing else happens.
/// </summary>
public abstract partial class VirtioDevice : IBackgroundDevice, IDisposable
{
    private readonly VirtioQueue[] _queues;
    private readonly List<VirtioChain> _kept = [];
    private CancellationTokenSource _stop = new();
    private TaskCompletionSource? _idle;
    private bool _isResetting;
    private bool _isHeld;
    private bool _isDisposed;

    /// <summary>Creates a device that is not behind a transport yet.</summary>
    /// <param name="name">Name of its saved section, unique in the machine, for example "virtio-blk0".</param>
    /// <param name="type">Device type (virtio 1.2, chapter 5).</param>
    /// <param name="features">Feature bits of its kind; those of all devices are added.</param>
    /// <param name="queueSizes">Most descriptors of each queue: powers of two, at most <see cref="VirtioChain.MaximumBuffers"/>.</param>
    /// <param name="platform">What it is given of the machine.</param>
    protected VirtioDevice(string name, ushort type, ulong features, IReadOnlyList<ushort> queueSizes, DevicePlatform platform)
    {
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(queueSizes);
        Name = name;
        Type = type;
        OfferedFeatures = features | VirtioFeature.Common;
        Platform = platform;
        _queues = [.. queueSizes.Select((size, i) => new VirtioQueue(platform.Memory, i, size))];
    }

    /// <summary>Name of the saved section.</summary>
    public string Name { get; }

    /// <summary>Device type.</summary>
    public ushort Type { get; }

    /// <summary>Feature bits that the device offers.</summary>
    public ulong OfferedFeatures { get; }

    /// <summary>Feature bits that the driver has accepted.</summary>
    public ulong DriverFeatures { get; private set; }

    /// <summary>Device status as the driver reads it; while a reset waits for a back end, what it was before.</summary>
    public VirtioStatus Status { get; private set; }

    /// <summary>Changes whenever the configuration does.</summary>
    public byte ConfigGeneration { get; private set; }

    /// <summary>Why the device needs a reset; null while it does not.</summary>
    public string? Fault { get; private set; }

    /// <summary>The queues.</summary>
    public IReadOnlyList<VirtioQueue> Queues => _queues;

    /// <summary>Bytes of the configuration.</summary>
    public abstract int ConfigLength { get; }

    /// <summary>The way to the driver; the transport sets it.</summary>
    internal IVirtioInterrupts? Interrupts { get; set; }

    /// <summary>False while the transport may not reach memory (PCI's bus master bit): the device then takes nothing.</summary>
    internal bool MayReachMemory { get; private set; } = true;

    /// <summary>What the device was given of the machine.</summary>
    protected DevicePlatform Platform { get; }

    /// <summary>Cancelled when the device is reset or disposed; for the operations of back ends.</summary>
    protected CancellationToken Stopping => _stop.Token;

    /// <summary>True while the device may take chains and return them.</summary>
    protected bool IsRunning => (Status & (VirtioStatus.DriverOk | VirtioStatus.NeedsReset | VirtioStatus.Failed)) == VirtioStatus.DriverOk
        && !_isResetting && !_isHeld && !_isDisposed && MayReachMemory;

    /// <summary>True when the driver has accepted a feature.</summary>
    protected bool Has(ulong feature) => (DriverFeatures & feature) != 0;

    /// <summary>Writes the configuration as the driver sees it now.</summary>
    /// <param name="config"><see cref="ConfigLength"/> zero bytes.</param>
    public abstract void ReadConfig(Span<byte> config);

    /// <summary>Takes a driver's write to the configuration; ignored unless the device has writable fields.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="bytes">What is written; may reach beyond the end.</param>
    public virtual void WriteConfig(int offset, ReadOnlySpan<byte> bytes)
    {
    }

    /// <summary>Features that the driver accepts, 32 at a time. Ignored once they are agreed on.</summary>
    /// <param name="half">0 for bits 0 to 31, 1 for bits 32 to 63; others don't exist.</param>
    /// <param name="value">The bits.</param>
    public void WriteFeatures(uint half, uint value)
    {
        if (half > 1 || (Status & VirtioStatus.FeaturesOk) != 0 || _isResetting)
            return;
        int shift = half == 0 ? 0 : 32;
        DriverFeatures = (DriverFeatures & ~((ulong)uint.MaxValue << shift)) | ((ulong)value << shift);
    }

    /// <summary>Features that the driver has accepted, 32 at a time.</summary>
    public uint ReadDriverFeatures(uint half) => half > 1 ? 0 : (uint)(DriverFeatures >> (half == 0 ? 0 : 32));

    /// <summary>Features that the device offers, 32 at a time.</summary>
    public uint ReadFeatures(uint half) => half > 1 ? 0 : (uint)(OfferedFeatures >> (half == 0 ? 0 : 32));

    /// <summary>A driver's write to the status: zero resets, other bits are added (virtio 1.2, 2.1 and 3.1.1).</summary>
    public void WriteStatus(byte value)
    {
        if (value == 0)
        {
            Reset();
            return;
        }

        if (_isResetting)
            return;
        const VirtioStatus Writable = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.DriverOk | VirtioStatus.FeaturesOk | VirtioStatus.Failed;
        var wanted = (VirtioStatus)value & Writable;
        bool agreed = (DriverFeatures & ~OfferedFeatures) == 0 && Has(VirtioFeature.Version1);
        if ((Status & VirtioStatus.FeaturesOk) == 0 && !agreed)
            wanted &= ~VirtioStatus.FeaturesOk;
        if (((Status | wanted) & VirtioStatus.FeaturesOk) == 0)
            wanted &= ~VirtioStatus.DriverOk;
        bool starts = (wanted & ~Status & VirtioStatus.DriverOk) != 0;
        Status |= wanted;
        if (!starts)
            return;
        foreach (VirtioQueue queue in _queues)
            StartQueue(queue);
        OnStarted();
        Continue();
    }

    /// <summary>A driver's wish to use a queue as its registers say.</summary>
    public void EnableQueue(int index)
    {
        if (!CanChange(index))
            return;
        VirtioQueue queue = _queues[index];
        queue.IsEnabled = true;
        if ((Status & VirtioStatus.DriverOk) != 0)
            StartQueue(queue);
    }

    /// <summary>A driver's change of a queue's registers; ignored while the queue is in use.</summary>
    public void ConfigureQueue(int index, Action<VirtioQueue> change)
    {
        ArgumentNullException.ThrowIfNull(change);
        if (CanChange(index))
            change(_queues[index]);
    }

    /// <summary>A driver's wish to reset one queue (feature <see cref="VirtioFeature.RingReset"/>), or to stop using it.</summary>
    public void ResetQueue(int index)
    {
        if ((uint)index >= (uint)_queues.Length || _isResetting)
            return;
        VirtioQueue queue = _queues[index];
        DropKept(queue);
        OnQueueReset(index);
        queue.IsResetting = true;
        FinishResets();
    }

    /// <summary>A driver's notification that a queue has new chains.</summary>
    public void Notify(int index)
    {
        if (IsRunning && (uint)index < (uint)_queues.Length && CanServe(_queues[index]))
            Serve(_queues[index]);
    }

    /// <summary>Puts the device into the state in which a driver finds it. Chains that a back end works on end first; until then the status is not zero.</summary>
    public void Reset()
    {
        if (!_isResetting)
            _stop.Cancel();
        _isResetting = true;
        foreach (VirtioQueue queue in _queues)
            DropKept(queue);
        FinishResets();
    }

    /// <summary>
    /// Stops taking chains and returning them, for a machine that is paused, saved or moved. Completes when no back end
    /// works for the device any more; what they have done by then is returned after <see cref="Release"/>, and saved as not
    /// yet begun. Takes the I/O lock by itself.
    /// </summary>
    public Task HoldAsync()
    {
        lock (Platform.IoLock)
        {
            _isHeld = true;
            if (CountBusy() == 0)
                return Task.CompletedTask;
            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _idle.Task;
        }
    }

    /// <summary>Goes on after <see cref="HoldAsync"/> or after a restore, beginning with what was under way. Takes the I/O lock by itself.</summary>
    public void Release()
    {
        lock (Platform.IoLock)
        {
            if (!_isHeld)
                return;
            _isHeld = false;
            if (CanReturn)
                ReturnKept();
            BeginAgain();
            OnReleased();
            Continue();
        }
    }

    /// <summary>Stops the device and waits for its back end's operations. Not with the I/O lock held.</summary>
    public void Dispose()
    {
        Dispose(isDisposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the device holds.</summary>
    protected virtual void Dispose(bool isDisposing)
    {
        if (_isDisposed)
            return;
        Task idle;
        lock (Platform.IoLock)
        {
            _isDisposed = true;
            _stop.Cancel();
            idle = HoldAsync();
        }

        // Guest memory must outlive whatever reads and writes it.
        idle.GetAwaiter().GetResult();
        _stop.Dispose();
    }

    /// <summary>Works on a chain. Must lead to <see cref="Complete"/>, at once or later.</summary>
    protected abstract void Handle(VirtioQueue queue, VirtioChain chain);

    /// <summary>True for a queue whose chains are taken as they come; false for one whose chains wait until there is something to put into them.</summary>
    protected virtual bool TakesAtOnce(int queue) => true;

    /// <summary>Chains have come into a queue whose chains wait.</summary>
    protected virtual void OnAvailable(VirtioQueue queue)
    {
    }

    /// <summary>The driver is ready.</summary>
    protected virtual void OnStarted()
    {
    }

    /// <summary>The device goes on after a pause or a restore.</summary>
    protected virtual void OnReleased()
    {
    }

    /// <summary>The device was reset; its own state goes back to the beginning.</summary>
    protected virtual void OnReset()
    {
    }

    /// <summary>One queue is being reset: chains of it that were put aside are gone.</summary>
    protected virtual void OnQueueReset(int queue)
    {
    }

    /// <summary>Takes the next chain of a queue whose chains wait; null when there is none.</summary>
    protected VirtioChain? Take(VirtioQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (!IsRunning || !CanServe(queue))
            return null;
        VirtioChain? chain = queue.Take();
        if (chain is null)
        {
            // What came before the driver could see that it should notify was not announced.
            queue.SetNotifications(true);
            chain = queue.Take();
        }

        CheckFault(queue);
        return chain;
    }

    /// <summary>Returns a chain to the driver and tells it, if it wants to know.</summary>
    /// <param name="chain">A chain that was taken.</param>
    /// <param name="written">Bytes written to it, from its first writable byte on.</param>
    protected void Complete(VirtioChain chain, uint written)
    {
        ArgumentNullException.ThrowIfNull(chain);
        VirtioQueue queue = _queues[chain.Queue];
        _ = _again.Remove(chain);
        if (_isResetting || queue.IsResetting)
        {
            queue.Forget(chain);
            FinishResets();
        }
        else if (CanReturn)
        {
            queue.Return(chain, written);
            if (_serving != queue)
                SignalIfWanted(queue);
        }
        else
        {
            chain.Written = written;
            _kept.Add(chain);
        }

        NoteIdle();
    }

    /// <summary>Returns chains of one queue with their <see cref="VirtioChain.Written"/>: the driver sees all of them or none, and is told once.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="chains">Chains that were taken from it.</param>
    protected void CompleteTogether(VirtioQueue queue, ReadOnlySpan<VirtioChain> chains)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (chains.IsEmpty)
            return;
        if (_isResetting || queue.IsResetting || !CanReturn || _again.Count != 0)
        {
            foreach (VirtioChain chain in chains)
                Complete(chain, chain.Written);
            return;
        }

        queue.Return(chains);
        SignalIfWanted(queue);
        NoteIdle();
    }

    /// <summary>
    /// Puts a chain aside that can't be worked on now: no pause and no reset waits for it. It is handled anew when the
    /// machine goes on after a pause (<see cref="Release"/>), unless it was completed before.
    /// </summary>
    protected void Postpone(VirtioChain chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        if (_isResetting || _queues[chain.Queue].IsResetting)
        {
            _queues[chain.Queue].Forget(chain);
            FinishResets();
        }
        else if (!_again.Contains(chain))
        {
            _again.Add(chain);
        }

        NoteIdle();
    }

    /// <summary>The driver has broken a rule: nothing is done until it resets the device.</summary>
    /// <param name="rule">What was broken.</param>
    protected void Break(string rule)
    {
        Fault ??= rule;
        if ((Status & VirtioStatus.NeedsReset) != 0)
            return;
        Status |= VirtioStatus.NeedsReset;
        ConfigChanged();
    }

    /// <summary>The configuration has changed: the driver is told if it is ready.</summary>
    protected void ConfigChanged()
    {
        ConfigGeneration++;
        if ((Status & VirtioStatus.DriverOk) != 0)
            Interrupts?.SignalConfiguration();
    }
}
