using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Machine.Interrupts;

/// <summary>
/// The local APIC of one vCPU: xAPIC registers in a page of its own view of memory, x2APIC registers as MSRs, the timer
/// and the inputs LINT0 and LINT1 (Intel SDM vol. 3, chapter 11). It keeps <see cref="PendingEvents.Interrupt"/> of its
/// vCPU set exactly while an interrupt could be delivered; nobody else sets or clears that bit.
/// </summary>
/// <remarks>
/// Any thread. It has a lock of its own, taken after the I/O lock and an IOAPIC's, before the clock's. While it sends
/// a message, broadcasts an EOI or asks the 8259s for a vector, it does not hold it.
/// </remarks>
public sealed partial class LocalApic : ILocalApic, IIoRegion, IStateful, IDisposable
{
    /// <summary>Counts of the timer in a second before division. CPUID.15h:ECX, where present, must say the same.</summary>
    public const uint TimerFrequency = 1_000_000_000;

    private const ulong BaseBootstrap = 1 << 8;
    private const ulong BaseX2Apic = 1 << 10;
    private const ulong BaseEnabled = 1 << 11;
    private const uint SoftwareEnabled = 1 << 8;
    private const uint Masked = 1 << 16;
    private const uint LevelTriggered = 1 << 15;
    private const uint RemoteIrr = 1 << 14;
    private const uint FlatModel = uint.MaxValue;

    private readonly Lock _lock = new();
    private readonly int _index;
    private readonly IInterruptTarget _target;
    private readonly ApicBus _bus;
    private readonly LocalApicOptions _options;
    private readonly LocalApicTimer _timer;
    private readonly InputLine[] _inputs;
    private readonly bool[] _levels = new bool[2];
    private readonly uint[] _lvt = new uint[6];
    private VectorSet _request;
    private VectorSet _service;
    private VectorSet _triggerMode;
    private ulong _base;
    private byte _id;
    private uint _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private ulong _command;
    private uint _error;
    private uint _newErrors;
    private bool _externalMessage;
    private bool _deliverable;
    private byte _sipiVector;

    /// <summary>Creates the APIC in its reset state and connects it to the bus.</summary>
    /// <param name="index">Index of the vCPU, 0 for the bootstrap processor; also the initial APIC id, at most 254.</param>
    /// <param name="target">The vCPU.</param>
    /// <param name="bus">The other APICs.</param>
    /// <param name="clock">Drives the timer.</param>
    /// <param name="options">What it has; null for everything.</param>
    public LocalApic(int index, IInterruptTarget target, ApicBus bus, IGuestClock clock, LocalApicOptions? options = null)
    {
        if ((uint)index > 254)
            throw new ArgumentOutOfRangeException(nameof(index), index, "an APIC id is 0 to 254");
        _index = index;
        _target = target;
        _bus = bus;
        _options = options ?? new LocalApicOptions();
        Name = $"lapic{index}";
        _timer = new LocalApicTimer(clock, target, Name, TimerCallback);
        _inputs = [new InputLine(this, 0), new InputLine(this, 1)];
        Reset();
        bus.Add(this);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>What connects it to the others.</summary>
    public ApicBus Bus => _bus;

    /// <summary>Index of the vCPU; the APIC id after reset and the x2APIC id.</summary>
    public int Index => _index;

    /// <summary>The 8259s behind LINT0 of the bootstrap processor; null for none. Set it before the machine runs: it resets the APIC.</summary>
    public IExternalInterruptSource? ExternalSource
    {
        get;
        set
        {
            field = value;
            Reset();
        }
    }

    /// <summary>The input LINT0: the INTR output of the 8259s.</summary>
    public IInterruptLine Lint0 => _inputs[0];

    /// <summary>The input LINT1: NMI.</summary>
    public IInterruptLine Lint1 => _inputs[1];

    /// <inheritdoc/>
    public byte SipiVector => Volatile.Read(ref _sipiVector);

    /// <inheritdoc/>
    public bool HasInterrupt => Volatile.Read(ref _deliverable);

    /// <inheritdoc/>
    public ulong ApicBase => Volatile.Read(ref _base);

    /// <inheritdoc/>
    public byte Cr8
    {
        get => (byte)(Volatile.Read(ref _taskPriority) >> 4);
        set
        {
            lock (_lock)
            {
                _taskPriority = (uint)(value & 0xF) << 4;
                Update();
            }
        }
    }

    /// <inheritdoc/>
    public ulong TscDeadline
    {
        get
        {
            lock (_lock)
                return _keeper is null ? _timer.TscDeadline : 0;
        }

        set
        {
            lock (_lock)
            {
                if (_keeper is null && _timer.SetTscDeadline(value))
                    DeliverLocal(LvtIndex.Timer);
            }
        }
    }

    private bool IsHardwareEnabled => (_base & BaseEnabled) != 0;

    private bool IsX2Apic => (_base & BaseX2Apic) != 0;

    private bool IsSoftwareEnabled => (_spurious & SoftwareEnabled) != 0;

    /// <inheritdoc/>
    public bool TryWriteApicBase(ulong value)
    {
        ulong reserved = ~((1UL << _options.PhysicalAddressBits) - 1) | 0x2FF;
        if (!_options.HasX2Apic)
            reserved |= BaseX2Apic;
        if ((value & reserved) != 0)
            return false;
        lock (_lock)
        {
            bool enabled = (value & BaseEnabled) != 0, x2 = (value & BaseX2Apic) != 0;
            // Figure 11-27: x2APIC is entered from xAPIC only, and left to disabled only.
            if (x2 && (!enabled || !IsHardwareEnabled))
                return false;
            if (IsX2Apic && enabled && !x2)
                return false;
            if (IsHardwareEnabled && !enabled)
                ResetRegisters();
            if (x2 && !IsX2Apic)
                _command &= uint.MaxValue;
            _id = (byte)(enabled && !x2 && IsHardwareEnabled ? _id : _index);
            _base = value;
            PlaceWindow();
            Update();
            return true;
        }
    }

    /// <inheritdoc/>
    public int Acknowledge()
    {
        IExternalInterruptSource? source = ExternalSource;
        bool external;
        lock (_lock)
            external = source is not null && (_keeper is null ? HasExternal() : _levels[0]);
        if (external && source!.IsAsserted)
        {
            int vector = source.Acknowledge();
            lock (_lock)
            {
                _externalMessage &= source.IsAsserted;
                Update();
            }

            return vector & 0xFF;
        }

        lock (_lock)
        {
            if (external)
            {
                _externalMessage = false;
                Update();
            }

            int vector = _keeper is null ? DeliverableVector() : -1;
            if (vector < 0)
                return -1;
            _request.Remove(vector);
            _service.Add(vector);
            Update();
            return vector;
        }
    }

    /// <inheritdoc/>
    public void Init()
    {
        lock (_lock)
        {
            ResetRegisters();
            _keeper?.Write(_index, Describe());
            Update();
        }
    }

    /// <summary>
    /// The state after RESET#. The bootstrap processor with <see cref="ExternalSource"/> starts in virtual wire mode, as
    /// firmware would leave it (MP specification 1.4, 3.6.2.2), since kernels are entered without firmware.
    /// </summary>
    public void Reset()
    {
        lock (_lock)
        {
            _base = PcMemoryMap.LocalApic | BaseEnabled | (_index == 0 ? BaseBootstrap : 0);
            _id = (byte)_index;
            _sipiVector = 0;
            ResetRegisters();
            if (_index == 0 && ExternalSource is not null)
            {
                _spurious |= SoftwareEnabled;
                _lvt[(int)LvtIndex.Lint0] = (uint)ApicDeliveryMode.ExtInt << 8;
                _lvt[(int)LvtIndex.Lint1] = (uint)ApicDeliveryMode.Nmi << 8;
            }

            PlaceWindow();
            Update();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    /// <summary>True when a message with this destination is for this APIC (Intel SDM vol. 3, 11.6.2 and 11.12.9).</summary>
    internal bool Matches(uint destination, bool isLogical)
    {
        lock (_lock)
        {
            if (!IsHardwareEnabled)
                return false;
            if (destination == ApicMessage.Broadcast)
                return true;
            if (IsX2Apic)
            {
                if (!isLogical)
                    return destination == (uint)_index;
                uint logical = X2LogicalId;
                return destination >> 16 == logical >> 16 && (destination & logical & 0xFFFF) != 0;
            }

            if (!isLogical)
                return destination == _id;
            uint mine = _logicalDestination >> 24;
            return _destinationFormat == FlatModel
                ? (destination & mine) != 0
                : (destination >> 4) == (mine >> 4) && (destination & mine & 0xF) != 0;
        }
    }

    /// <summary>How busy this APIC is, for lowest-priority arbitration: its processor priority, or -1 if it handles the vector already; very high when it would refuse.</summary>
    internal int ArbitrationPriorityFor(byte vector)
    {
        lock (_lock)
        {
            if (!IsSoftwareEnabled)
                return int.MaxValue - 1;
            return _request.Contains(vector) || _service.Contains(vector) ? -1 : (int)ProcessorPriority;
        }
    }

    /// <summary>Takes a message; false when the APIC's state makes it refuse.</summary>
    internal bool Accept(ApicDeliveryMode mode, byte vector, bool isLevel)
    {
        lock (_lock)
        {
            if (!IsHardwareEnabled)
                return false;
            // It was handed over after the sender has looked.
            if (_keeper is IApicKeeper keeper)
                return keeper.Send(new ApicMessage(_id, false, mode, vector, isLevel));
            switch (mode)
            {
                case ApicDeliveryMode.Fixed or ApicDeliveryMode.LowestPriority:
                    return AcceptVector(vector, isLevel);
                case ApicDeliveryMode.Nmi:
                    _target.Signal(PendingEvents.Nmi);
                    return true;
                case ApicDeliveryMode.Init:
                    _target.ClearSignal(PendingEvents.Sipi);
                    _target.Signal(PendingEvents.Init);
                    return true;
                case ApicDeliveryMode.StartUp:
                    Volatile.Write(ref _sipiVector, vector);
                    _target.Signal(PendingEvents.Sipi);
                    return true;
                case ApicDeliveryMode.ExtInt:
                    _externalMessage = true;
                    Update();
                    return true;
                default:
                    return false;
            }
        }
    }

    private bool AcceptVector(byte vector, bool isLevel)
    {
        if (!IsSoftwareEnabled)
            return false;
        if (vector < 16)
        {
            RecordError(ApicError.ReceiveIllegalVector);
            return false;
        }

        if (isLevel)
            _triggerMode.Add(vector);
        else
            _triggerMode.Remove(vector);
        _request.Add(vector);
        Update();
        return true;
    }

    private uint ProcessorPriority
    {
        get
        {
            uint service = (uint)Math.Max(_service.Highest, 0) & 0xF0;
            return (_taskPriority & 0xF0) >= service ? _taskPriority : service;
        }
    }

    private uint ArbitrationPriority
    {
        get
        {
            uint request = (uint)Math.Max(_request.Highest, 0) & 0xF0;
            uint service = (uint)Math.Max(_service.Highest, 0) & 0xF0;
            uint task = _taskPriority & 0xF0;
            return task >= request && task > service ? _taskPriority : Math.Max(task, Math.Max(request, service));
        }
    }

    private uint X2LogicalId => ((uint)_index >> 4 << 16) | (1u << (_index & 15));

    // The highest requested vector if it is above the processor priority; -1 otherwise.
    private int DeliverableVector()
    {
        if (!IsHardwareEnabled)
            return -1;
        int vector = _request.Highest;
        return vector >= 0 && (uint)vector >> 4 > ProcessorPriority >> 4 ? vector : -1;
    }

    private bool HasExternal()
    {
        if (!IsHardwareEnabled)
            return _levels[0];
        uint lint0 = _lvt[(int)LvtIndex.Lint0];
        return _externalMessage
            || (_levels[0] && (lint0 & Masked) == 0 && ModeOf(lint0) == ApicDeliveryMode.ExtInt);
    }

    // Must follow every change of what could be delivered. The bit is set again for each request, which also wakes a
    // vCPU that went to sleep in the meantime.
    private void Update()
    {
        bool deliverable = _keeper is null ? (ExternalSource is not null && HasExternal()) || DeliverableVector() >= 0 : ExternalSource is not null && _levels[0];
        if (deliverable)
            _target.Signal(PendingEvents.Interrupt);
        else if (_deliverable)
            _target.ClearSignal(PendingEvents.Interrupt);
        Volatile.Write(ref _deliverable, deliverable);
    }

    private void EndOfInterrupt()
    {
        int vector;
        bool broadcast;
        lock (_lock)
        {
            vector = _service.Highest;
            if (vector < 0)
                return;
            _service.Remove(vector);
            broadcast = _triggerMode.Contains(vector);
            for (int pin = 0; broadcast && pin < 2; pin++)
                EndLocal(pin, vector);
            broadcast &= (_spurious & SuppressesBroadcast) == 0;
            Update();
        }

        if (broadcast)
            _bus.BroadcastEoi((byte)vector);
    }

    private void TimerCallback()
    {
        lock (_lock)
        {
            if (_keeper is null && _timer.TakeExpiry())
                DeliverLocal(LvtIndex.Timer);
        }
    }

    private void ResetRegisters()
    {
        _request = _service = _triggerMode = default;
        _taskPriority = 0;
        _logicalDestination = 0;
        _destinationFormat = FlatModel;
        _spurious = 0xFF;
        _command = 0;
        _error = _newErrors = 0;
        _externalMessage = false;
        Array.Fill(_lvt, Masked);
        _timer.Reset();
    }

    private void PlaceWindow()
    {
        ulong page = _base & ((1UL << _options.PhysicalAddressBits) - 1) & ~0xFFFUL;
        _target.SetApicWindow(IsHardwareEnabled && !IsX2Apic ? page : null, this);
    }
}
