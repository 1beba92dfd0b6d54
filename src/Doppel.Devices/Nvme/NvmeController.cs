using System.Security.Cryptography;
using Doppel.Devices.Pci;
using Doppel.Devices.Storage;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;

namespace Doppel.Devices.Nvme;

/// <summary>
/// NVMe controller (NVM Express Base Specification 1.4) on PCI: an admin queue, several I/O queues, MSI-X or INTA, PRPs and
/// scatter-gather lists, one or more namespaces. Commands run side by side on the back ends and complete in any order. The
/// machine's I/O lock guards everything; completions of back ends take it.
/// </summary>
public sealed partial class NvmeController : PciFunction, IBackgroundDevice, IDisposable
{
    /// <summary>Most I/O queues of each kind.</summary>
    public const int MaximumQueues = 64;

    // Of no vendor that there is, so that no guest's list of quirks knows it; guests find NVMe by its class.
    private const ushort VendorId = 0xD0BB, DeviceId = 0x0010;
    private const uint ClassCode = 0x010802;
    private const int MaximumEntries = 1024;
    private const int DoorbellStart = 0x1000;
    private const uint Enable = 1;
    private const uint Ready = 1, Fatal = 2, ShutdownMask = 3 << 2, ShutdownUnderWay = 1 << 2, ShutdownDone = 2 << 2;

    // 15 s for the driver to wait, contiguous queues, the NVM command set, pages of 4 KiB.
    private const ulong Capabilities = (MaximumEntries - 1) | (1 << 16) | (30UL << 24) | (1UL << 37);

    private readonly GuestMemory _memory;
    private readonly Lock _ioLock;
    private readonly Action<Exception> _failed;
    private readonly bool _isDeterministic;
    private readonly Action<StorageFullException>? _full;
    private readonly string _serial;
    private readonly NvmeNamespace[] _namespaces;
    private readonly Action[] _resized;
    private readonly NvmeSubmissionQueue?[] _submission;
    private readonly NvmeCompletionQueue?[] _completion;
    private readonly List<NvmeCommand> _busy = [];
    private readonly List<NvmeCommand> _again = [];
    private CancellationTokenSource _stop = new();
    private TaskCompletionSource? _idle;
    private bool _isStopping;
    private bool _isHeld;
    private bool _isDisposed;
    private uint _configuration;
    private uint _status;
    private uint _interruptMask;
    private uint _adminSizes;
    private ulong _adminSubmission;
    private ulong _adminCompletion;

    /// <summary>Creates a controller that is not on a bus yet.</summary>
    /// <param name="name">Name of its saved section, for example "nvme0".</param>
    /// <param name="namespaces">Its disks, from namespace 1 on.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">The port bus, on which it has nothing.</param>
    /// <param name="messages">Where MSI-X messages go.</param>
    /// <param name="queues">Number of I/O queues, 1 to <see cref="MaximumQueues"/>.</param>
    /// <param name="serial">Serial number; at most 20 ASCII characters of it are shown.</param>
    /// <param name="full">Told that the host has no room; the machine should pause, and the command begins anew when it goes on. Any thread. Null makes it an error.</param>
    public NvmeController(string name, IReadOnlyList<NvmeNamespace> namespaces, DevicePlatform platform, IoBus memoryBus, IoBus portBus, IMessageSink messages, int queues = 1, string serial = "", Action<StorageFullException>? full = null)
        : base(name, new PciConfigSpace(VendorId, DeviceId, ClassCode, revision: 1, subsystemVendor: VendorId, subsystem: DeviceId), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentNullException.ThrowIfNull(namespaces);
        ArgumentNullException.ThrowIfNull(serial);
        if (queues is < 1 or > MaximumQueues)
            throw new ArgumentOutOfRangeException(nameof(queues), queues, $"a controller has 1 to {MaximumQueues} I/O queues");
        _memory = platform.Memory;
        _ioLock = platform.IoLock;
        _failed = platform.Failed;
        _isDeterministic = platform.IsDeterministic;
        _full = full;
        _serial = serial.Length == 0 ? name : serial;
        _namespaces = [.. namespaces];
        _submission = new NvmeSubmissionQueue?[queues + 1];
        _completion = new NvmeCompletionQueue?[queues + 1];
        InterruptPin = 1;
        AddBar(new PciBar(0, 1 << 14, new Registers(this), Is64Bit: true));
        AddMsix(messages, queues + 1, 4);
        ResetFeatures();
        _resized = [.. _namespaces.Select((_, i) => (Action)(() => OnResized(i)))];
        for (int i = 0; i < _namespaces.Length; i++)
            _namespaces[i].Backend.Resized += _resized[i];
    }

    private bool IsReady => (_status & (Ready | Fatal)) == Ready && !_isStopping && !_isHeld && !_isDisposed && Config.IsBusMaster;

    /// <summary>A namespace identifier that follows from a text, so that a disk keeps its own.</summary>
    public static Guid MakeIdentifier(string text) => new(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text)).AsSpan(0, 16), bigEndian: true);

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        bool was = Config.IsBusMaster;
        base.WriteConfig(offset, size, value);
        if (!was && Config.IsBusMaster)
            Continue();
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        // Before it stops, which would otherwise enable it again as a driver may.
        _configuration = 0;
        Stop();
        _interruptMask = 0;
        _adminSizes = 0;
        _adminSubmission = 0;
        _adminCompletion = 0;
    }

    /// <inheritdoc/>
    public Task HoldAsync()
    {
        lock (_ioLock)
        {
            _isHeld = true;
            if (_busy.Count == 0)
                return Task.CompletedTask;
            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _idle.Task;
        }
    }

    /// <inheritdoc/>
    public void Release()
    {
        lock (_ioLock)
        {
            _isHeld = false;
            Continue();
        }
    }

    /// <summary>Stops the controller and waits for the operations of its back ends. Not with the I/O lock held.</summary>
    public void Dispose()
    {
        Task idle;
        lock (_ioLock)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            for (int i = 0; i < _namespaces.Length; i++)
                _namespaces[i].Backend.Resized -= _resized[i];
            _stop.Cancel();
            idle = HoldAsync();
        }

        // Guest memory must outlive whatever reads and writes it.
        idle.GetAwaiter().GetResult();
        _stop.Dispose();
    }

    private ulong ReadRegister(int offset) => offset switch
    {
        0x00 => unchecked((uint)Capabilities),
        0x04 => (uint)(Capabilities >> 32),
        0x08 => NvmeIdentify.Version,
        0x0C or 0x10 => _interruptMask,
        0x14 => _configuration,
        0x1C => _status,
        0x24 => _adminSizes,
        0x28 => (uint)_adminSubmission,
        0x2C => (uint)(_adminSubmission >> 32),
        0x30 => (uint)_adminCompletion,
        0x34 => (uint)(_adminCompletion >> 32),
        _ => 0,
    };

    private void WriteRegister(int offset, uint value)
    {
        bool isEnabled = (_configuration & Enable) != 0;
        switch (offset)
        {
            case 0x0C:
                _interruptMask |= value;
                UpdateInterrupt();
                break;
            case 0x10:
                _interruptMask &= ~value;
                UpdateInterrupt();
                break;
            case 0x14:
                Configure(value);
                break;
            case 0x24 when !isEnabled:
                _adminSizes = value & 0x0FFF_0FFF;
                break;
            case 0x28 when !isEnabled:
                _adminSubmission = (_adminSubmission & ~(ulong)uint.MaxValue) | (value & ~0xFFFu);
                break;
            case 0x2C when !isEnabled:
                _adminSubmission = (uint)_adminSubmission | ((ulong)value << 32);
                break;
            case 0x30 when !isEnabled:
                _adminCompletion = (_adminCompletion & ~(ulong)uint.MaxValue) | (value & ~0xFFFu);
                break;
            case 0x34 when !isEnabled:
                _adminCompletion = (uint)_adminCompletion | ((ulong)value << 32);
                break;
            default:
                break;
        }
    }

    private void Configure(uint value)
    {
        uint old = _configuration;
        _configuration = value & 0x00FF_FFF1;
        if ((value & ~old & Enable) != 0)
            Start();
        else if ((old & ~value & Enable) != 0)
            Stop();
        if ((_configuration & (3 << 14)) == 0)
            _status &= ~ShutdownMask;
        else if ((_configuration & (3 << 14)) != (old & (3 << 14)))
            ShutDown();
    }

    private void Start()
    {
        // Pages of 4 KiB, the NVM command set and round robin are all there is.
        const uint Unsupported = (0xF << 7) | (7 << 4) | (7 << 11);
        int submissions = (int)(_adminSizes & 0xFFF) + 1, completions = (int)((_adminSizes >> 16) & 0xFFF) + 1;
        if (_isStopping)
            return;
        if ((_configuration & Unsupported) != 0 || submissions < 2 || completions < 2
            || !_memory.IsRam(_adminSubmission, (ulong)submissions * NvmeCommand.Length) || !_memory.IsRam(_adminCompletion, (ulong)completions * NvmeCompletionQueue.EntryLength))
        {
            _status |= Fatal;
            return;
        }

        _completion[0] = new NvmeCompletionQueue(0, _adminCompletion, completions, 0, interrupts: true);
        _submission[0] = new NvmeSubmissionQueue(0, 0, _adminSubmission, submissions);
        _status = (_status & ~Fatal) | Ready;
    }

    /// <summary>A controller reset: what back ends are doing ends first; until then the controller says that it is ready.</summary>
    private void Stop()
    {
        if (!_isStopping)
            _stop.Cancel();
        _isStopping = true;
        foreach (NvmeCommand command in _again)
            _submission[command.Queue]!.Busy--;
        _again.Clear();
        FinishStop();
    }

    private void FinishStop()
    {
        if (!_isStopping || _busy.Count != 0)
            return;
        _isStopping = false;
        _stop.Dispose();
        _stop = new CancellationTokenSource();
        Array.Clear(_submission);
        Array.Clear(_completion);
        ResetFeatures();
        _status = 0;
        UpdateInterrupt();
        // The driver may have enabled it again without waiting.
        if ((_configuration & Enable) != 0)
            Start();
    }

    // A shutdown makes what was written durable (7.6.2).
    private void ShutDown()
    {
        _status = (_status & ~ShutdownMask) | ShutdownUnderWay;
        if (_isDeterministic)
        {
            FlushAllAsync().GetAwaiter().GetResult();
            EndShutdown();
        }
        else
        {
            _ = FlushAndEndAsync();
        }
    }

    private async Task FlushAndEndAsync()
    {
        await FlushAllAsync().ConfigureAwait(false);
        EndShutdown();
    }

    /// <summary>Flushes all disks; needs no lock.</summary>
    private async Task FlushAllAsync()
    {
        try
        {
            foreach (NvmeNamespace disk in _namespaces)
                await disk.Backend.FlushAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // There is no way to tell the driver; its flushes have told it.
        }
        catch (Exception e)
        {
            _failed(new InvalidOperationException($"{SectionName}: the flush at shutdown failed: {e.Message}", e));
        }
    }

    private void EndShutdown()
    {
        lock (_ioLock)
        {
            if ((_configuration & (3 << 14)) != 0)
                _status = (_status & ~ShutdownMask) | ShutdownDone;
        }
    }

    private sealed class Registers(NvmeController owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            // Doubleword registers; a quadword is two of them, and a part is taken from one.
            int at = (int)Math.Min(offset, DoorbellStart) & ~3;
            ulong value = at >= DoorbellStart ? 0 : owner.ReadRegister(at) | (owner.ReadRegister(at + 4) << 32);
            value >>= 8 * (int)(offset & 3);
            return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset % 4 != 0 || size < 4)
                return;
            if (offset >= DoorbellStart)
            {
                owner.RingDoorbell((int)Math.Min((offset - DoorbellStart) / 4, int.MaxValue), (uint)value);
                return;
            }

            owner.WriteRegister((int)offset, (uint)value);
            if (size == 8)
                owner.WriteRegister((int)offset + 4, (uint)(value >> 32));
        }
    }
}
