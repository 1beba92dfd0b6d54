using Doppel.Devices.Ata;
using Doppel.Devices.Pci;
using Doppel.Devices.Storage;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Ahci;

/// <summary>
/// AHCI controller (Serial ATA AHCI 1.3.1) with the identity of Intel's ICH9 (8086:2922): six ports, command queuing, packet
/// devices, MSI or INTA. The machine's I/O lock guards everything; completions of back ends take it.
/// </summary>
public sealed class AhciController : PciFunction, IBackgroundDevice, IDisposable
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 6;

    private const int PortStart = 0x100, PortLength = 0x80;
    private const uint Version = 0x0001_0301;
    private const uint Ahci = 1u << 31, InterruptsOn = 2, ResetBit = 1;

    // 64-bit addresses, queuing, list override, AHCI only, 6 Gbit/s, 32 commands a port.
    private const uint Capabilities = (1u << 31) | (1 << 30) | (1 << 24) | (1 << 18) | (3 << 20) | (31 << 8) | (PortCount - 1);

    // Ports tell of their drives while they are made.
    private readonly AhciPort[] _ports = [];
    private uint _control = Ahci;
    private bool _isResetting;

    /// <summary>Creates a controller that is not on a bus yet.</summary>
    /// <param name="name">Name of its saved section, for example "ahci".</param>
    /// <param name="drives">The drives of its ports, at most <see cref="PortCount"/>; null for none. The controller owns them.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">The port bus, on which it has nothing.</param>
    /// <param name="messages">Where MSI messages go.</param>
    /// <param name="full">Told that the host has no room; the machine should pause, and the command begins anew when it goes on. Any thread. Null makes it an error.</param>
    public AhciController(string name, IReadOnlyList<AtaDevice?> drives, DevicePlatform platform, IoBus memoryBus, IoBus portBus, IMessageSink messages, Action<StorageFullException>? full = null)
        : base(name, new PciConfigSpace(0x8086, 0x2922, 0x010601, revision: 2, subsystemVendor: 0x8086, subsystem: 0x2922), portBus, memoryBus)
    {
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(platform);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(drives.Count, PortCount);
        InterruptPin = 1;
        AddMsi(messages, 1);
        AddBar(new PciBar(5, 0x1000, new Registers(this)));
        _ports = [.. Enumerable.Range(0, PortCount).Select(i => new AhciPort($"{name}.{i}", i < drives.Count ? drives[i] : null, platform, full, OnPort, () => Config.IsBusMaster))];
    }

    /// <inheritdoc/>
    public override void WriteConfig(int offset, int size, uint value)
    {
        bool was = Config.IsBusMaster;
        base.WriteConfig(offset, size, value);
        if (was || !Config.IsBusMaster)
            return;
        foreach (AhciPort port in _ports)
            port.Continue();
    }

    /// <inheritdoc/>
    public override void Reset()
    {
        base.Reset();
        ResetHost();
    }

    /// <inheritdoc/>
    public Task HoldAsync() => Task.WhenAll(_ports.Select(port => port.HoldAsync()));

    /// <inheritdoc/>
    public void Release()
    {
        foreach (AhciPort port in _ports)
            port.Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (AhciPort port in _ports)
            port.Dispose();
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_control);
        writer.Write(_isResetting);
        foreach (AhciPort port in _ports)
            port.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        uint control = reader.ReadUInt32();
        bool isResetting = reader.ReadBool();
        Action[] adopt = [.. _ports.Select(port => port.ReadState(reader, SectionName))];
        return () =>
        {
            (_control, _isResetting) = (control, isResetting);
            foreach (Action each in adopt)
                each();
        };
    }

    private uint Pending()
    {
        uint pending = 0;
        for (int i = 0; i < _ports.Length; i++)
            pending |= _ports[i].Interrupts ? 1u << i : 0;
        return pending;
    }

    // Ports tell of what drives do, and of the end of what a reset waits for.
    private void OnPort(bool isNew)
    {
        if (_isResetting && _ports.All(port => !port.IsBusy))
            EndReset();
        bool interrupts = (_control & InterruptsOn) != 0 && Pending() != 0;
        if (!UsesMessages)
            SetInterrupt(interrupts);
        else if (interrupts && isNew)
            SendMessage(0);
    }

    private void ResetHost()
    {
        _isResetting = true;
        foreach (AhciPort port in _ports)
            port.Abandon();
        if (_ports.All(port => !port.IsBusy))
            EndReset();
    }

    private void EndReset()
    {
        _isResetting = false;
        _control = Ahci;
        foreach (AhciPort port in _ports)
            port.Reset();
        SetInterrupt(false);
    }

    private uint ReadRegister(int offset)
    {
        if (offset >= PortStart)
        {
            int port = (offset - PortStart) / PortLength;
            return port < PortCount ? _ports[port].Read((offset - PortStart) % PortLength) : 0;
        }

        return offset switch
        {
            0x00 => Capabilities,
            0x04 => _control | (_isResetting ? ResetBit : 0),
            0x08 => Pending(),
            0x0C => (1u << PortCount) - 1,
            0x10 => Version,
            _ => 0,
        };
    }

    private void WriteRegister(int offset, uint value)
    {
        if (_isResetting)
            return;
        if (offset >= PortStart)
        {
            int port = (offset - PortStart) / PortLength;
            if (port < PortCount)
                _ports[port].Write((offset - PortStart) % PortLength, value);
        }
        else if (offset == 0x04)
        {
            _control = Ahci | (value & InterruptsOn);
            if ((value & ResetBit) != 0)
                ResetHost();
            else
                OnPort(isNew: true);
        }
    }

    private sealed class Registers(AhciController owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            int at = (int)offset & ~3;
            ulong value = (owner.ReadRegister(at) | (size == 8 ? (ulong)owner.ReadRegister(at + 4) << 32 : 0)) >> (8 * (int)(offset & 3));
            return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset % 4 != 0 || size < 4)
                return;
            owner.WriteRegister((int)offset, (uint)value);
            if (size == 8)
                owner.WriteRegister((int)offset + 4, (uint)(value >> 32));
        }
    }
}
