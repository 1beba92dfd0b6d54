using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Virtio;

/// <summary>
/// A virtio device without a bus: registers in one page of memory and one interrupt line, version 2 of the interface
/// (virtio 1.2, 4.2). Registers are read and written as doublewords; the device's configuration in any size.
/// </summary>
public sealed class VirtioMmioTransport : IDevice, IVirtioInterrupts, IDoorbellRegion, IDisposable
{
    /// <summary>Bytes of the register page.</summary>
    public const ulong Length = 0x1000;

    private const uint Magic = 0x7472_6976;
    private const uint Version = 2;
    private const uint Vendor = 0x4C50_5044;
    private const int QueueNotify = 0x050, ConfigStart = 0x100;
    private readonly IInterruptLine _line;
    private readonly IoRange[] _ranges;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private uint _queueSelect;
    private byte _interruptStatus;

    /// <summary>Puts a device at an address.</summary>
    /// <param name="device">The device; it is disposed with the transport.</param>
    /// <param name="address">Guest-physical address of its page.</param>
    /// <param name="line">Its interrupt, level-triggered.</param>
    public VirtioMmioTransport(VirtioDevice device, ulong address, IInterruptLine line)
    {
        ArgumentNullException.ThrowIfNull(device);
        Device = device;
        device.Interrupts = this;
        _line = line;
        _ranges = [new IoRange(address, Length, this)];
        Doorbells = [.. Enumerable.Range(0, device.Queues.Count).Select(queue => new Doorbell(QueueNotify, 4, (uint)queue))];
    }

    /// <summary>The device behind the registers.</summary>
    public VirtioDevice Device { get; }

    /// <inheritdoc/>
    public string SectionName => Device.Name;

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <inheritdoc/>
    public string Name => Device.Name;

    /// <inheritdoc/>
    public IReadOnlyList<IoRange> Memory => _ranges;

    /// <inheritdoc/>
    public IReadOnlyList<Doorbell> Doorbells { get; }

    private VirtioQueue? Queue => _queueSelect < (uint)Device.Queues.Count ? Device.Queues[(int)_queueSelect] : null;

    /// <inheritdoc/>
    public void SignalQueue(int queue) => Signal(1);

    /// <inheritdoc/>
    public void SignalConfiguration() => Signal(2);

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        if (offset >= Length)
            return 0;
        if (offset >= ConfigStart)
            return VirtioPciTransport.ReadDeviceConfig(Device, (int)offset - ConfigStart, size);
        return size == 4 ? ReadRegister((int)offset) : 0;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        if (offset >= Length)
            return;
        if (offset >= ConfigStart)
            VirtioPciTransport.WriteDeviceConfig(Device, (int)offset - ConfigStart, size, value);
        else if (size == 4)
            WriteRegister((int)offset, (uint)value);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        Device.Reset();
        _deviceFeatureSelect = 0;
        _driverFeatureSelect = 0;
        _queueSelect = 0;
        Acknowledge(0xFF);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        writer.Write(_deviceFeatureSelect);
        writer.Write(_driverFeatureSelect);
        writer.Write(_queueSelect);
        writer.Write(_interruptStatus);
        Device.Save(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        uint deviceFeatureSelect = reader.ReadUInt32(), driverFeatureSelect = reader.ReadUInt32(), queueSelect = reader.ReadUInt32();
        byte status = (byte)(reader.ReadByte() & 3);
        Action adopt = Device.ReadState(reader);
        _deviceFeatureSelect = deviceFeatureSelect;
        _driverFeatureSelect = driverFeatureSelect;
        _queueSelect = queueSelect;
        _interruptStatus = status;
        adopt();
        _line.Set(_interruptStatus != 0);
    }

    /// <inheritdoc/>
    public void Dispose() => Device.Dispose();

    private static ulong Low(ulong old, uint value) => (old & ~(ulong)uint.MaxValue) | value;

    private static ulong High(ulong old, uint value) => (uint)old | ((ulong)value << 32);

    private void Signal(byte cause)
    {
        _interruptStatus |= cause;
        _line.Set(true);
    }

    private void Acknowledge(byte causes)
    {
        _interruptStatus &= (byte)~causes;
        _line.Set(_interruptStatus != 0);
    }

    private uint ReadRegister(int offset) => offset switch
    {
        0x000 => Magic,
        0x004 => Version,
        0x008 => Device.Type,
        0x00C => Vendor,
        0x010 => Device.ReadFeatures(_deviceFeatureSelect),
        0x034 => Queue?.MaximumSize ?? 0u,
        0x044 => Queue is { IsEnabled: true } ? 1u : 0,
        0x060 => _interruptStatus,
        0x070 => (uint)Device.Status,
        // There is no shared memory: a region of that length does not exist (4.2.2).
        0x0B0 or 0x0B4 or 0x0B8 or 0x0BC => uint.MaxValue,
        0x0C0 => Queue is { IsResetting: true } ? 1u : 0,
        0x0FC => Device.ConfigGeneration,
        _ => 0,
    };

    private void WriteRegister(int offset, uint value)
    {
        int queue = (int)Math.Min(_queueSelect, int.MaxValue);
        switch (offset)
        {
            case 0x014:
                _deviceFeatureSelect = value;
                break;
            case 0x020:
                Device.WriteFeatures(_driverFeatureSelect, value);
                break;
            case 0x024:
                _driverFeatureSelect = value;
                break;
            case 0x030:
                _queueSelect = value;
                break;
            case 0x038:
                Device.ConfigureQueue(queue, q => q.Size = value <= q.MaximumSize ? (ushort)value : q.Size);
                break;
            case 0x044:
                if (value == 1)
                    Device.EnableQueue(queue);
                else if (value == 0 && Queue is { IsEnabled: true })
                    Device.ResetQueue(queue);
                break;
            case QueueNotify:
                Device.Notify((int)Math.Min(value, int.MaxValue));
                break;
            case 0x064:
                Acknowledge((byte)value);
                break;
            case 0x070:
                Device.WriteStatus((byte)value);
                if ((byte)value == 0)
                    Acknowledge(0xFF);
                break;
            case 0x080:
                Device.ConfigureQueue(queue, q => q.Descriptors = Low(q.Descriptors, value));
                break;
            case 0x084:
                Device.ConfigureQueue(queue, q => q.Descriptors = High(q.Descriptors, value));
                break;
            case 0x090:
                Device.ConfigureQueue(queue, q => q.Driver = Low(q.Driver, value));
                break;
            case 0x094:
                Device.ConfigureQueue(queue, q => q.Driver = High(q.Driver, value));
                break;
            case 0x0A0:
                Device.ConfigureQueue(queue, q => q.Device = Low(q.Device, value));
                break;
            case 0x0A4:
                Device.ConfigureQueue(queue, q => q.Device = High(q.Device, value));
                break;
            case 0x0C0:
                if (value == 1)
                    Device.ResetQueue(queue);
                break;
            default:
                break;
        }
    }
}
