using Doppel.Devices.Pci;
using Doppel.Devices.Tests.Pci;
using Doppel.Devices.Virtio;
using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Tests.Virtio;

/// <summary>Finds the device's structures by its capabilities, as a driver on PCI does.</summary>
public sealed class PciAccess : IVirtioAccess
{
    private const ulong FirstBar = 0xD000_0000, BarDistance = 0x100_0000;
    private readonly MessageRecorder _messages = new();
    private readonly IoBus _memory;
    private readonly FakeLine _line = new();
    private readonly bool _useMsix;
    private readonly Lock _gate;
    private ulong _registers, _table, _common, _isr, _device, _notify;
    private uint _notifyMultiplier;
    private int _lastRises;

    public PciAccess(VirtioDevice device, Lock gate, bool useMsix = true, Func<IoBus, IoBus, IMessageSink, VirtioPciTransport>? make = null)
    {
        _gate = gate;
        _useMsix = useMsix;
        var ports = new IoBus("port", 65536, gate);
        _memory = new IoBus("mmio", 1UL << 40, gate);
        var bus = new PciBus(_ => _line);
        Function = make?.Invoke(_memory, ports, _messages) ?? new VirtioPciTransport(device, VirtioBlock.PciClass, _memory, ports, _messages);
        bus.Add(new PciAddress(0, 2, 0), Function);
        Place();
    }

    public VirtioPciTransport Function { get; }

    public int DeviceType => (int)Function.ReadConfig(2, 2) - 0x1040;

    public byte Status
    {
        get => (byte)_memory.Read(_common + 20, 1);
        set => _memory.Write(_common + 20, 1, value);
    }

    public byte ConfigGeneration => (byte)_memory.Read(_common + 21, 1);

    public ulong ReadFeatures()
    {
        _memory.Write(_common, 4, 0);
        ulong low = _memory.Read(_common + 4, 4);
        _memory.Write(_common, 4, 1);
        return low | (_memory.Read(_common + 4, 4) << 32);
    }

    public void WriteFeatures(ulong features)
    {
        _memory.Write(_common + 8, 4, 0);
        _memory.Write(_common + 12, 4, (uint)features);
        _memory.Write(_common + 8, 4, 1);
        _memory.Write(_common + 12, 4, features >> 32);
        if (_useMsix)
            _memory.Write(_common + 16, 2, 0);
    }

    public int QueueMaximum(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        return (int)_memory.Read(_common + 24, 2);
    }

    public void SetQueue(int queue, int size, ulong descriptors, ulong driver, ulong device)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        _memory.Write(_common + 24, 2, (uint)size);
        if (_useMsix)
        {
            _memory.Write(_common + 26, 2, (uint)queue + 1);
            Assert.Equal((uint)queue + 1, _memory.Read(_common + 26, 2));
        }

        _memory.Write(_common + 32, 8, descriptors);
        _memory.Write(_common + 40, 4, (uint)driver);
        _memory.Write(_common + 44, 4, driver >> 32);
        _memory.Write(_common + 48, 8, device);
    }

    public void EnableQueue(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        _memory.Write(_common + 28, 2, 1);
    }

    public bool IsQueueEnabled(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        return _memory.Read(_common + 28, 2) == 1;
    }

    public void ResetQueue(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        _memory.Write(_common + 58, 2, 1);
    }

    public bool IsQueueResetting(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        return _memory.Read(_common + 58, 2) == 1;
    }

    public void Notify(int queue)
    {
        _memory.Write(_common + 22, 2, (uint)queue);
        ulong offset = _memory.Read(_common + 30, 2) * _notifyMultiplier;
        _memory.Write(_notify + offset, 2, (uint)queue);
    }

    public ulong ReadConfig(int offset, int size) => _memory.Read(_device + (uint)offset, size);

    public void WriteConfig(int offset, int size, ulong value) => _memory.Write(_device + (uint)offset, size, value);

    public int TakeInterrupts()
    {
        if (_useMsix)
            return _messages.Take().Length;
        int rises = _line.Rises - _lastRises;
        _lastRises = _line.Rises;
        _ = _memory.Read(_isr, 1);
        return rises;
    }

    public void Poke(Random random)
    {
        int size = 1 << random.Next(4);
        if (random.Next(6) == 0)
        {
            // Never the base addresses or the command register: the test would lose its device.
            int offset = random.Next(0x40, 0x100);
            size = Math.Min(size, 4);
            lock (_gate)
                Function.WriteConfig(offset & -size, size, (uint)random.NextInt64());
            return;
        }

        ulong value = random.Next(3) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(16);
        ulong at = random.Next(2) == 0 ? _common + (uint)random.Next(64) : _registers + (uint)random.Next(0x4000);
        // Nor where the rings are: the device would rightly write there.
        if (at + (ulong)size > _common + 0x20 && at < _common + 0x38)
            return;
        _memory.Write(at, size, value);
        _ = _memory.Read(at, size);
    }

    public byte[] Save()
    {
        var writer = new StateWriter();
        lock (_gate)
            Function.Save(writer);
        return writer.ToArray();
    }

    public void Restore(byte[] state)
    {
        var reader = new StateReader(state);
        lock (_gate)
            Function.Restore(reader, Function.SectionVersion);
        Assert.True(reader.IsAtEnd);
    }

    public void PowerOnReset()
    {
        lock (_gate)
        {
            Function.Reset();
            Place();
        }
    }

    private static ulong AddressOf(int bar) => FirstBar + ((uint)bar * BarDistance);

    private void Place()
    {
        foreach (PciBar bar in Function.Bars)
            Function.WriteConfig(bar.Offset, 4, (uint)AddressOf(bar.Index));
        Function.WriteConfig(PciConfigSpace.Command, 2, 6);
        for (int at = (int)Function.ReadConfig(0x34, 1); at != 0; at = (int)Function.ReadConfig(at + 1, 1))
        {
            if (Function.ReadConfig(at, 1) == MsixCapability.Id && _useMsix)
            {
                Function.WriteConfig(at + 2, 2, 0x8000);
                _table = AddressOf((int)Function.ReadConfig(at + 4, 4) & 7);
                for (ulong vector = 0; vector < (ulong)Function.Vectors; vector++)
                {
                    _memory.Write(_table + (16 * vector), 8, 0xFEE0_0000);
                    _memory.Write(_table + (16 * vector) + 8, 8, 0x40 + vector);
                }
            }

            if (Function.ReadConfig(at, 1) != 9)
                continue;
            ulong where = AddressOf((int)Function.ReadConfig(at + 4, 1)) + Function.ReadConfig(at + 8, 4);
            switch (Function.ReadConfig(at + 3, 1))
            {
                case 1:
                    _common = where;
                    _registers = AddressOf((int)Function.ReadConfig(at + 4, 1));
                    break;
                case 2:
                    _notify = where;
                    _notifyMultiplier = Function.ReadConfig(at + 16, 4);
                    break;
                case 3:
                    _isr = where;
                    break;
                case 4:
                    _device = where;
                    break;
                default:
                    break;
            }
        }
    }
}
