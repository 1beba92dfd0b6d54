using Doppel.Devices.Network;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Cards;

/// <summary>
/// Gigabit Ethernet card with Intel's 82540EM (8086:100E; manual 317453): descriptor rings with the legacy and the extended
/// formats, checksums and TCP segmentation, receive filters, interrupt throttling. The machine's I/O lock guards it.
/// </summary>
public sealed partial class E1000 : PciNetworkCard, IFrameCard
{
    private const uint ResetBit = 1 << 26, VlanMode = 1 << 30;
    private const uint FullDuplex = 1, LinkUp = 2, Gigabit = 0x80;
    private const uint TransmitDone = 1, QueueEmpty = 2, LinkChange = 4, FewDescriptors = 0x10, ReceiveTimer = 0x80, MdiDone = 1 << 9;
    private const int ThrottleUnit = 256;

    private readonly E1000Eeprom _eeprom;
    private readonly E1000Phy _phy = new();
    private readonly uint[] _registers = new uint[E1000Register.Length / 4];
    private uint _cause;
    private uint _enabled;
    private long _lastInterrupt;
    private bool _line;
    private int _portAddress;

    /// <summary>Creates a card that is not on a bus yet, and attaches it to its back end.</summary>
    /// <param name="name">Name of its saved section, for example "e1000-0".</param>
    /// <param name="backend">What its cable leads to; not disposed with the device.</param>
    /// <param name="address">Its address until the guest sets another.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="clock">Guest time.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">Where the two ports appear that reach them, too.</param>
    public E1000(string name, INetworkBackend backend, MacAddress address, DevicePlatform platform, IGuestClock clock, IoBus memoryBus, IoBus portBus)
        : base(name, new PciConfigSpace(0x8086, 0x100E, 0x020000, revision: 3, subsystemVendor: 0x8086, subsystem: 0x001E), platform, clock, portBus, memoryBus)
    {
        _eeprom = new E1000Eeprom(address);
        AddBar(new PciBar(0, 0x2_0000, new Window(this)));
        AddBar(new PciBar(1, 0x40, new Ports(this), IsPort: true));
        ResetCard();
        PlugIn(this, backend, platform);
    }

    private ref uint this[int register] => ref _registers[register / 4];

    void IFrameCard.OnLinkChanged() => Raise(LinkChange);

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        foreach (uint register in _registers)
            writer.Write(register);
        writer.Write(_cause);
        writer.Write(_enabled);
        writer.Write(_lastInterrupt);
        writer.Write(_line);
        writer.Write(_portAddress);
        writer.Write(Timer.Deadline ?? -1);
        _eeprom.Save(writer);
        _phy.Save(writer);
        SaveFrame(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        uint[] registers = [.. _registers.Select(_ => reader.ReadUInt32())];
        uint cause = reader.ReadUInt32(), enabled = reader.ReadUInt32();
        long last = reader.ReadInt64();
        bool line = reader.ReadBool();
        int portAddress = reader.ReadInt32();
        long deadline = reader.ReadInt64();
        Action[] parts = [_eeprom.ReadState(reader, SectionName), _phy.ReadState(reader), ReadFrame(reader)];
        return () =>
        {
            Cable.HoldForRestore();
            registers.CopyTo(_registers, 0);
            (_cause, _enabled, _lastInterrupt, _line, _portAddress) = (cause, enabled, last, line, portAddress);
            RestoreTimer(deadline);
            foreach (Action part in parts)
                part();
            // Frames were lost meanwhile, and switches have to learn where it is: as after a cable was out.
            _cause |= LinkChange;
            UpdateInterrupt();
        };
    }

    private protected override void ResetCard()
    {
        Array.Clear(_registers);
        this[E1000Register.Control] = 0x0000_0240;
        this[E1000Register.VlanType] = 0x8100;
        for (int i = 0; i < 3; i++)
            this[E1000Register.FirstAddress + (i / 2 * 4)] |= (uint)_eeprom[i] << (16 * (i & 1));
        this[E1000Register.FirstAddress + 4] |= 1u << 31;
        (_cause, _enabled, _lastInterrupt, _line) = (0, 0, 0, false);
        Timer.Disarm();
        _phy.Reset();
        ResetFrame();
        SetInterrupt(false);
    }

    private void Raise(uint cause)
    {
        _cause |= cause;
        UpdateInterrupt();
    }

    private protected override void OnTimer() => UpdateInterrupt();

    // At most one interrupt in the time that the throttle says (13.4.18).
    private void UpdateInterrupt()
    {
        bool wanted = (_cause & _enabled) != 0;
        if (wanted && !_line)
        {
            long next = _lastInterrupt + ((this[E1000Register.Throttle] & 0xFFFF) * ThrottleUnit);
            if (GuestClock.Now < next)
            {
                Timer.Arm(next);
                return;
            }

            _lastInterrupt = GuestClock.Now;
        }

        _line = wanted;
        SetInterrupt(wanted);
    }

    private uint Read(int offset)
    {
        switch (offset)
        {
            case E1000Register.Status:
                return FullDuplex | Gigabit | (Cable.HasLink ? LinkUp : 0);
            case E1000Register.EepromControl:
                return _eeprom.Wires;
            case E1000Register.InterruptCause:
                uint cause = _cause | ((_cause & _enabled) != 0 ? 1u << 31 : 0);
                _cause = 0;
                UpdateInterrupt();
                return cause;
            case E1000Register.EnableCause:
                return _enabled;
            case E1000Register.SetCause or E1000Register.DisableCause or >= E1000Register.Length:
                return 0;
            case >= E1000Register.FirstCounter and < E1000Register.EndOfCounters:
                uint count = this[offset];
                this[offset] = 0;
                return count;
            default:
                return this[offset];
        }
    }

    private void Write(int offset, uint value)
    {
        switch (offset)
        {
            case E1000Register.Control or E1000Register.Control + 4:
                this[E1000Register.Control] = value & ~ResetBit;
                if ((value & ResetBit) != 0)
                    ResetCard();
                break;
            case E1000Register.EepromControl:
                _eeprom.Wires = value;
                break;
            case E1000Register.EepromRead:
                const uint Start = 1, Done = 0x10;
                this[offset] = (value & Start) != 0 ? (value & 0xFF00) | Done | ((uint)_eeprom[(int)((value >> 8) & 0xFF)] << 16) : value;
                break;
            case E1000Register.Mdi:
                WriteMdi(value);
                break;
            case E1000Register.InterruptCause:
                _cause &= ~value;
                UpdateInterrupt();
                break;
            case E1000Register.Throttle:
                this[offset] = value & 0xFFFF;
                break;
            case E1000Register.SetCause:
                Raise(value & 0x1_FFFF);
                break;
            case E1000Register.EnableCause:
                _enabled |= value & 0x1_FFFF;
                UpdateInterrupt();
                break;
            case E1000Register.DisableCause:
                _enabled &= ~value;
                UpdateInterrupt();
                break;
            case E1000Register.ReceiveControl:
                this[offset] = value;
                Cable.Wake();
                break;
            case E1000Register.TransmitControl:
                this[offset] = value;
                Cable.Wake();
                break;
            case E1000Register.ReceiveLength or E1000Register.TransmitLength:
                this[offset] = value & 0xF_FF80;
                break;
            case E1000Register.ReceiveHead or E1000Register.TransmitHead:
                this[offset] = value & 0xFFFF;
                break;
            case E1000Register.ReceiveTail or E1000Register.TransmitTail:
                this[offset] = value & 0xFFFF;
                Cable.Wake();
                break;
            case E1000Register.Status or (>= E1000Register.FirstCounter and < E1000Register.EndOfCounters) or >= E1000Register.Length:
                break;
            default:
                this[offset] = value;
                break;
        }
    }

    private void WriteMdi(uint value)
    {
        const uint Interrupts = 1 << 29, Ready = 1 << 28, Error = 1 << 30;
        const uint WriteOperation = 1, ReadOperation = 2, PhyAddress = 1;
        int register = (int)((value >> 16) & 31);
        uint operation = (value >> 26) & 3;
        uint result = (value & ~Error) | Ready;
        if (((value >> 21) & 31) != PhyAddress || operation is not (WriteOperation or ReadOperation))
            result |= Error;
        else if (operation == ReadOperation)
            result = (result & 0xFFFF_0000) | _phy.Read(register, Cable.HasLink);
        else if (_phy.Write(register, (ushort)value))
            Raise(LinkChange);
        this[E1000Register.Mdi] = result;
        if ((value & Interrupts) != 0)
            Raise(MdiDone);
    }

    private sealed class Window(E1000 owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            int at = (int)offset & ~3;
            ulong value = (owner.Read(at) | (size == 8 ? (ulong)owner.Read(at + 4) << 32 : 0)) >> (8 * (int)(offset & 3));
            return size == 8 ? value : value & ((1UL << (8 * size)) - 1);
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset % 4 != 0 || size < 4)
                return;
            owner.Write((int)offset, (uint)value);
            if (size == 8)
                owner.Write((int)offset + 4, (uint)(value >> 32));
        }
    }

    // An address port and a data port (13.3.2).
    private sealed class Ports(E1000 owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size) => size != 4 ? ulong.MaxValue >> (64 - (8 * size)) : offset switch
        {
            0 => (uint)owner._portAddress,
            4 => owner.Read(owner._portAddress),
            _ => 0,
        };

        public void Write(ulong offset, int size, ulong value)
        {
            if (size != 4)
                return;
            if (offset == 0)
                owner._portAddress = (int)(value & 0x1_FFFC);
            else if (offset == 4)
                owner.Write(owner._portAddress, (uint)value);
        }
    }
}
