using System.Buffers.Binary;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// A virtio device on the PCI bus, modern interface only (virtio 1.2, 4.1). Register 0 maps four pages: common
/// configuration, interrupt status, the device's configuration and notifications. Register 1 maps MSI-X, one message a
/// queue and one for changes of the configuration; without MSI-X the function uses INTA. A function that is something else
/// beside, such as a VGA, has its own base address registers there and these elsewhere.
/// </summary>
public class VirtioPciTransport : PciFunction, IVirtioInterrupts, IBackgroundDevice, IDisposable
{
    private const int PageShift = 12;
    private const int CommonPage = 0, StatusPage = 1, DevicePage = 2, NotifyPage = 3;
    private const int NotifyMultiplier = 4;
    private const ushort NoVector = 0xFFFF;
    private readonly VirtioPciCommonConfig _common;
    private readonly VirtioPciLayout _layout;
    private readonly int _window;
    private byte _interruptStatus;

    /// <summary>Puts a device behind a new function.</summary>
    /// <param name="device">The device; the function disposes it.</param>
    /// <param name="classCode">PCI class, subclass and programming interface.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">The port bus, on which it has nothing.</param>
    /// <param name="messages">Where MSI-X messages go.</param>
    public VirtioPciTransport(VirtioDevice device, uint classCode, IoBus memoryBus, IoBus portBus, IMessageSink messages)
        : this(device, classCode, memoryBus, portBus, messages, new VirtioPciLayout(0, 1, null))
    {
    }

    /// <summary>Puts a device behind a new function that has other registers, too.</summary>
    /// <param name="device">The device; the function disposes it.</param>
    /// <param name="classCode">PCI class, subclass and programming interface.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">Where port registers appear.</param>
    /// <param name="messages">Where MSI-X messages go.</param>
    /// <param name="layout">Where the device's registers are.</param>
    private protected VirtioPciTransport(VirtioDevice device, uint classCode, IoBus memoryBus, IoBus portBus, IMessageSink messages, VirtioPciLayout layout)
        : base(
            (device ?? throw new ArgumentNullException(nameof(device))).Name,
            new PciConfigSpace(0x1AF4, (ushort)(0x1040 + device.Type), classCode, revision: 1, subsystemVendor: 0x1AF4, subsystem: (ushort)(0x40 + device.Type)),
            portBus,
            memoryBus)
    {
        Device = device;
        _layout = layout;
        device.Interrupts = this;
        device.AllowMemory(false);
        InterruptPin = 1;
        Vectors = device.Queues.Count + 1;
        _common = new VirtioPciCommonConfig(device, Vectors);
        AddBar(new PciBar(layout.RegisterBar, (layout.FirstPage is null ? 4u : 8u) << PageShift, new Registers(this)));
        AddMsix(messages, Vectors, layout.MessageBar);
        _ = AddLocation(1, CommonPage, VirtioPciCommonConfig.Length, 16);
        _ = AddLocation(3, StatusPage, 1, 16);
        _ = AddLocation(4, DevicePage, Math.Max(device.ConfigLength, 4), 16);
        int notify = AddLocation(2, NotifyPage, NotifyMultiplier * device.Queues.Count, 20);
        Config.Define(notify + 16, 4, NotifyMultiplier);
        // The window through which firmware reaches the registers without mapping them (4.1.4.9).
        _window = AddCapability(5, 20);
        Config.Define(_window + 4, 1, 0, writable: 0xFF);
        Config.Define(_window + 8, 4, 0, writable: uint.MaxValue);
        Config.Define(_window + 12, 4, 0, writable: uint.MaxValue);
        Config.Define(_window + 16, 4, 0, writable: uint.MaxValue);
    }

    /// <summary>The device behind the function.</summary>
    public VirtioDevice Device { get; }

    /// <summary>Number of MSI-X messages.</summary>
    public int Vectors { get; }

    // Bytes before the device's pages, and behind them.
    private ulong Start => _layout.FirstPage is null ? 0u : 1u << PageShift;

    private ulong End => Start + (4u << PageShift);

    /// <inheritdoc/>
    public void SignalQueue(int queue) => Signal(_common.QueueVectors[queue], 1);

    /// <inheritdoc/>
    public void SignalConfiguration() => Signal(_common.ConfigVector, 2);

    /// <inheritdoc/>
    public override uint ReadConfig(int offset, int size)
    {
        if (offset >= _window + 16 && offset < _window + 20 && WindowAccess(offset) is (ulong at, int length))
            return (uint)ReadRegisters(at, length);
        return base.ReadConfig(offset, size);
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        base.WriteConfig(offset, size, value);
        if (offset >= _window + 16 && offset < _window + 20 && WindowAccess(offset) is (ulong at, int length))
            WriteRegisters(at, length, Config.Get(_window + 16, length));
        Device.AllowMemory(Config.IsBusMaster);
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        Device.AllowMemory(false);
        Device.Reset();
        _common.Reset();
        _interruptStatus = 0;
    }

    /// <inheritdoc/>
    public Task HoldAsync() => Device.HoldAsync();

    /// <inheritdoc/>
    public void Release() => Device.Release();

    /// <inheritdoc/>
    public void Dispose()
    {
        Device.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        writer.Write(_interruptStatus);
        _common.Save(writer);
        Device.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        byte status = (byte)(reader.ReadByte() & 3);
        Action adoptCommon = _common.ReadState(reader, SectionName);
        Action adoptDevice = Device.ReadState(reader);
        return () =>
        {
            _interruptStatus = status;
            adoptCommon();
            adoptDevice();
            Device.AllowMemory(Config.IsBusMaster);
        };
    }

    private int AddCapability(byte type, int size)
    {
        int at = Config.AddCapability(9, size);
        Config.Define(at + 2, 1, (uint)size);
        Config.Define(at + 3, 1, type);
        return at;
    }

    private int AddLocation(byte type, int page, int length, int size)
    {
        int at = AddCapability(type, size);
        Config.Define(at + 4, 1, (uint)_layout.RegisterBar);
        Config.Define(at + 8, 4, (uint)Start + ((uint)page << PageShift));
        Config.Define(at + 12, 4, (uint)length);
        return at;
    }

    private void Signal(ushort vector, byte cause)
    {
        if (UsesMessages)
        {
            if (vector != NoVector)
                SendMessage(vector);
            return;
        }

        _interruptStatus |= cause;
        SetInterrupt(true);
    }

    // The access that the window asks for; null when it is none that registers answer.
    private (ulong Offset, int Size)? WindowAccess(int offset)
    {
        uint length = Config.Get(_window + 12, 4);
        uint at = Config.Get(_window + 8, 4);
        return offset == _window + 16 && Config.Get(_window + 4, 1) == _layout.RegisterBar && length is 1 or 2 or 4 && at < End && at % length == 0
            ? (at, (int)length)
            : null;
    }

    private ulong ReadRegisters(ulong offset, int size)
    {
        if (offset >= End)
            return 0;
        if (offset < Start)
            return _layout.FirstPage!.Read(offset, size);
        offset -= Start;
        int within = (int)(offset & ((1 << PageShift) - 1));
        switch ((int)(offset >> PageShift))
        {
            case CommonPage:
                return _common.Read(within, size);
            case StatusPage:
                return within == 0 ? TakeInterruptStatus() : 0u;
            case DevicePage:
                return ReadDeviceConfig(Device, within, size);
            default:
                return 0;
        }
    }

    private void WriteRegisters(ulong offset, int size, ulong value)
    {
        if (offset >= End)
            return;
        if (offset < Start)
        {
            _layout.FirstPage!.Write(offset, size, value);
            return;
        }

        offset -= Start;
        int within = (int)(offset & ((1 << PageShift) - 1));
        switch ((int)(offset >> PageShift))
        {
            case CommonPage:
                _common.Write(within, size, value);
                if (Device.Status == VirtioStatus.None)
                    OnDeviceReset();
                break;
            case DevicePage:
                WriteDeviceConfig(Device, within, size, value);
                break;
            case NotifyPage:
                Device.Notify(within / NotifyMultiplier);
                break;
            default:
                break;
        }
    }

    private void OnDeviceReset()
    {
        if (_interruptStatus == 0)
            return;
        _interruptStatus = 0;
        SetInterrupt(false);
    }

    // Reading clears the status and lowers INTA (4.1.4.5).
    private byte TakeInterruptStatus()
    {
        byte status = _interruptStatus;
        _interruptStatus = 0;
        SetInterrupt(false);
        return status;
    }

    internal static ulong ReadDeviceConfig(VirtioDevice device, int offset, int size)
    {
        Span<byte> config = stackalloc byte[device.ConfigLength + 8];
        config.Clear();
        device.ReadConfig(config[..device.ConfigLength]);
        if (offset >= device.ConfigLength)
            return 0;
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(config[offset..]);
        return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
    }

    internal static void WriteDeviceConfig(VirtioDevice device, int offset, int size, ulong value)
    {
        if (offset >= device.ConfigLength)
            return;
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        device.WriteConfig(offset, bytes[..Math.Min(size, device.ConfigLength - offset)]);
    }

    private sealed class Registers(VirtioPciTransport owner) : IDoorbellRegion
    {
        public string Name => owner.SectionName;

        // What is written is the queue's number, which the place says too (4.1.4.4).
        public IReadOnlyList<Doorbell> Doorbells { get; } =
            [.. Enumerable.Range(0, owner.Device.Queues.Count).Select(queue => new Doorbell(owner.Start + (NotifyPage << PageShift) + ((uint)queue * NotifyMultiplier), 2, null))];

        public ulong Read(ulong offset, int size) => owner.ReadRegisters(offset, size);

        public void Write(ulong offset, int size, ulong value) => owner.WriteRegisters(offset, size, value);
    }
}
