using System.Buffers.Binary;
using Doppel.Devices.Network;
using Doppel.Devices.Pc;
using Doppel.Devices.Pci;
using Doppel.Machine.Bus;
using Doppel.Machine.State;
using Doppel.Machine.Time;

namespace Doppel.Devices.Cards;

/// <summary>
/// Fast Ethernet card with Realtek's RTL8139C (10EC:8139; data sheet 1.4): four transmit buffers, one receive buffer that
/// frames go round in, the same registers as ports and in memory. The machine's I/O lock guards it.
/// </summary>
public sealed partial class Rtl8139 : PciNetworkCard, IFrameCard
{
    private const byte ResetBit = 0x10, ReceiverEnabled = 8, TransmitterEnabled = 4, BufferEmpty = 1;
    private const ushort ReceiveOk = 1, TransmitOk = 4, TransmitError = 8, LinkChange = 0x20, TimeOut = 0x4000;
    private const byte EepromMode = 0xC0, Program = 0x80, AutoLoad = 0x40, Unlocked = 0xC0;
    private const byte Select = 8, Clock = 4, DataIn = 2, DataOut = 1;
    private const byte Silicon = 0x10;

    // The PCI clock, which the timer counts.
    private static readonly TickRate Oscillator = new(33_000_000);
    private static readonly byte[] Writable = MakeWritable();

    private readonly MicrowireEeprom _eeprom = new();
    private readonly byte[] _registers = new byte[Rtl8139Register.Length];
    private long _timerStart;

    /// <summary>Creates a card that is not on a bus yet, and attaches it to its back end.</summary>
    /// <param name="name">Name of its saved section, for example "rtl8139-0".</param>
    /// <param name="backend">What its cable leads to; not disposed with the device.</param>
    /// <param name="address">Its address until the guest sets another.</param>
    /// <param name="platform">What it is given of the machine.</param>
    /// <param name="clock">Guest time.</param>
    /// <param name="memoryBus">Where its registers appear.</param>
    /// <param name="portBus">Where they appear as ports.</param>
    public Rtl8139(string name, INetworkBackend backend, MacAddress address, DevicePlatform platform, IGuestClock clock, IoBus memoryBus, IoBus portBus)
        : base(name, new PciConfigSpace(0x10EC, 0x8139, 0x020000, revision: Silicon, subsystemVendor: 0x10EC, subsystem: 0x8139), platform, clock, portBus, memoryBus)
    {
        // Shortest grant and longest latency, as the data sheet's EEPROM has them.
        Config.Define(0x3E, 2, 0x4020);
        AddBar(new PciBar(0, Rtl8139Register.Length, new Window(this), IsPort: true));
        AddBar(new PciBar(1, Rtl8139Register.Length, new Window(this)));
        FillEeprom(address);
        ResetCard();
        PlugIn(this, backend, platform);
    }

    private byte Command => _registers[Rtl8139Register.Command];

    void IFrameCard.OnLinkChanged() => Raise(LinkChange);

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write(_registers.AsSpan());
        writer.Write(_timerStart);
        writer.Write(Timer.Deadline ?? -1);
        writer.Write(_next);
        _eeprom.Save(writer);
    }

    /// <inheritdoc/>
    protected override Action ReadFunction(StateReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        byte[] registers = StateCheck.Length(SectionName, "registers", reader.ReadBytes(Rtl8139Register.Length), Rtl8139Register.Length);
        long timerStart = reader.ReadInt64(), deadline = reader.ReadInt64();
        int next = (int)StateCheck.Range(SectionName, "descriptor", reader.ReadInt32(), 0, Rtl8139Register.Descriptors - 1);
        Action<bool, bool> eeprom = _eeprom.ReadState(reader, SectionName);
        return () =>
        {
            Cable.HoldForRestore();
            registers.CopyTo(_registers, 0);
            (_timerStart, _next) = (timerStart, next);
            byte wires = _registers[Rtl8139Register.EepromCommand];
            eeprom((wires & Select) != 0, (wires & Clock) != 0);
            RestoreTimer(deadline);
            // Frames were lost meanwhile, and switches have to learn where it is: as after a cable was out.
            Raise(LinkChange);
        };
    }

    // Which bits a guest may write; registers that do something at it are handled beside this.
    private static byte[] MakeWritable()
    {
        byte[] bits = new byte[Rtl8139Register.Length];
        void Allow(int offset, params byte[] mask) => mask.CopyTo(bits, offset);
        Allow(Rtl8139Register.Address, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF);
        bits.AsSpan(Rtl8139Register.MulticastTable, 8).Fill(0xFF);
        for (int i = 0; i < Rtl8139Register.Descriptors; i++)
        {
            Allow(Rtl8139Register.TransmitStatus + (4 * i), 0xFF, 0x3F, 0x3F, 0);
            Allow(Rtl8139Register.TransmitAddress + (4 * i), 0xFF, 0xFF, 0xFF, 0xFF);
        }

        Allow(Rtl8139Register.ReceiveBuffer, 0xFF, 0xFF, 0xFF, 0xFF);
        Allow(Rtl8139Register.Command, ReceiverEnabled | TransmitterEnabled);
        Allow(Rtl8139Register.ReadPlace, 0xFF, 0xFF);
        Allow(Rtl8139Register.InterruptMask, 0x7F, 0xE0);
        Allow(Rtl8139Register.TransmitConfiguration, 0xF0, 0x07, 0x07, 0x03);
        Allow(Rtl8139Register.ReceiveConfiguration, 0xFF, 0xFF, 0x03, 0x0F);
        Allow(Rtl8139Register.EepromCommand, 0xCE);
        Allow(Rtl8139Register.Configuration1, 0xFF);
        Allow(Rtl8139Register.TimerInterrupt, 0xFF, 0xFF, 0xFF, 0xFF);
        Allow(Rtl8139Register.Configuration3, 0xFF, 0xFF);
        Allow(Rtl8139Register.MultipleInterrupt, 0xFF, 0x0F);
        Allow(Rtl8139Register.BasicMode, 0x00, 0x31);
        Allow(Rtl8139Register.Advertised, 0xFF, 0xFF);
        Allow(Rtl8139Register.Nway, 0xFF, 0xFF);
        Allow(Rtl8139Register.ConfigurationStatus, 0xFF, 0xFF);
        bits.AsSpan(Rtl8139Register.Phy1, 12).Fill(0xFF);
        return bits;
    }

    // The layout of the data sheet, 6.1.
    private void FillEeprom(MacAddress address)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        address.Write(bytes);
        (_eeprom[0], _eeprom[1], _eeprom[2], _eeprom[3], _eeprom[4], _eeprom[5]) = (0x8129, 0x10EC, 0x8139, 0x10EC, 0x8139, 0x4020);
        for (int i = 0; i < 3; i++)
            _eeprom[7 + i] = (ushort)(bytes[2 * i] | (bytes[(2 * i) + 1] << 8));
    }

    private protected override void ResetCard()
    {
        Array.Clear(_registers);
        LoadFromEeprom();
        // A 8139C, by the bits that tell.
        Set(Rtl8139Register.TransmitConfiguration, 4, 0x7400_0600);
        Set(Rtl8139Register.BasicMode, 2, 0x1100);
        Set(Rtl8139Register.Advertised, 2, 0x01E1);
        Set(Rtl8139Register.ConfigurationStatus, 2, 0x0348);
        _registers[Rtl8139Register.Revision] = Silicon;
        _timerStart = GuestClock.Now;
        Timer.Disarm();
        _eeprom.Drive(false, false, false);
        ResetEngines();
    }

    private void LoadFromEeprom()
    {
        const byte PortsAndMemory = 0x0C;
        for (int i = 0; i < 3; i++)
            Set(Rtl8139Register.Address + (2 * i), 2, _eeprom[7 + i]);
        _registers[Rtl8139Register.Configuration1] = PortsAndMemory;
    }

    // What bit 4 of the command does (5.6): addresses and configuration stay.
    private void ResetEngines()
    {
        const uint Done = 1 << 13, BeforeStart = 0xFFF0;
        _registers[Rtl8139Register.Command] = 0;
        for (int i = 0; i < Rtl8139Register.Descriptors; i++)
        {
            Set(Rtl8139Register.TransmitStatus + (4 * i), 4, Done);
            Set(Rtl8139Register.TransmitAddress + (4 * i), 4, 0);
        }

        Set(Rtl8139Register.ReadPlace, 2, BeforeStart);
        Set(Rtl8139Register.WritePlace, 2, 0);
        Set(Rtl8139Register.InterruptMask, 2, 0);
        Set(Rtl8139Register.InterruptStatus, 2, 0);
        _next = 0;
        UpdateInterrupt();
    }

    private uint Get(int offset, int size) => size switch
    {
        1 => _registers[offset],
        2 => BinaryPrimitives.ReadUInt16LittleEndian(_registers.AsSpan(offset)),
        _ => BinaryPrimitives.ReadUInt32LittleEndian(_registers.AsSpan(offset)),
    };

    private void Set(int offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
            _registers[offset + i] = (byte)(value >> (8 * i));
    }

    private void Raise(ushort cause)
    {
        Set(Rtl8139Register.InterruptStatus, 2, Get(Rtl8139Register.InterruptStatus, 2) | cause);
        UpdateInterrupt();
    }

    private void UpdateInterrupt() => SetInterrupt((Get(Rtl8139Register.InterruptStatus, 2) & Get(Rtl8139Register.InterruptMask, 2)) != 0);

    private uint Ticks => (uint)(Oscillator.TicksAt(GuestClock.Now) - Oscillator.TicksAt(_timerStart));

    private protected override void OnTimer()
    {
        Raise(TimeOut);
        ArmTimer();
    }

    // The count goes round, and matches each time.
    private void ArmTimer()
    {
        uint wanted = Get(Rtl8139Register.TimerInterrupt, 4);
        if (wanted == 0)
        {
            Timer.Disarm();
            return;
        }

        long ahead = (long)(wanted - Ticks);
        long now = Oscillator.TicksAt(GuestClock.Now);
        Timer.Arm(Oscillator.TimeOf(now + (ahead <= 0 ? ahead + (1L << 32) : ahead)));
    }

    private byte Read(int offset)
    {
        switch (offset)
        {
            case Rtl8139Register.Command:
                return (byte)(Command | (IsEmpty ? BufferEmpty : 0));
            case >= Rtl8139Register.Timer and < Rtl8139Register.Timer + 4:
                return (byte)(Ticks >> (8 * (offset - Rtl8139Register.Timer)));
            case Rtl8139Register.EepromCommand:
                return (byte)(_registers[offset] | ((_registers[offset] & EepromMode) == Program && _eeprom.Output ? DataOut : 0));
            case Rtl8139Register.MediaStatus:
                // 100 Mbit/s; bit 2 tells that there is no link.
                return (byte)(Cable.HasLink ? 0x10 : 0x14);
            case Rtl8139Register.BasicStatus:
                return (byte)(Cable.HasLink ? 0x2D : 0x09);
            case Rtl8139Register.BasicStatus + 1:
                return 0x78;
            case Rtl8139Register.Partner:
                return (byte)(Cable.HasLink ? 0xE1 : 0);
            case Rtl8139Register.Partner + 1:
                return (byte)(Cable.HasLink ? 0x45 : 0);
            case Rtl8139Register.Expansion:
                return (byte)(Cable.HasLink ? 1 : 0);
            case Rtl8139Register.TransmitSummary or Rtl8139Register.TransmitSummary + 1:
                return (byte)(TransmitSummary >> (8 * (offset - Rtl8139Register.TransmitSummary)));
            default:
                return _registers[offset];
        }
    }

    // A register is written as a whole before it does what it does.
    private void Write(int offset, int size, ulong value)
    {
        bool isUnlocked = (_registers[Rtl8139Register.EepromCommand] & EepromMode) == Unlocked;
        for (int i = 0; i < size && offset + i < Rtl8139Register.Length; i++)
        {
            int at = offset + i;
            byte part = (byte)(value >> (8 * i)), mask = Writable[at];
            if (at is >= Rtl8139Register.InterruptStatus and < Rtl8139Register.InterruptStatus + 2)
                _registers[at] &= (byte)~part;
            else if (at is >= Rtl8139Register.Missed and < Rtl8139Register.Missed + 4)
                _registers[at] = 0;
            else if (at is not (Rtl8139Register.Configuration1 or Rtl8139Register.Configuration3 or Rtl8139Register.Configuration4) || isUnlocked)
                _registers[at] = (byte)((_registers[at] & ~mask) | (part & mask));
        }

        bool Reaches(int register, int length) => offset < register + length && offset + size > register;
        if (Reaches(Rtl8139Register.TransmitStatus, 4 * Rtl8139Register.Descriptors))
            BeginTransmit(offset, size);
        if (Reaches(Rtl8139Register.Command, 1))
            WriteCommand((byte)(value >> (8 * (Rtl8139Register.Command - offset))));
        if (Reaches(Rtl8139Register.ReadPlace, 2))
            Cable.Wake();
        if (Reaches(Rtl8139Register.InterruptMask, 4))
            UpdateInterrupt();
        if (Reaches(Rtl8139Register.Timer, 4))
            _timerStart = GuestClock.Now;
        if (Reaches(Rtl8139Register.Timer, 4) || Reaches(Rtl8139Register.TimerInterrupt, 4))
            ArmTimer();
        if (Reaches(Rtl8139Register.EepromCommand, 1))
            DriveEeprom();
        if (Reaches(Rtl8139Register.BasicMode, 2))
            WriteBasicMode((byte)(value >> (8 * Math.Max(0, Rtl8139Register.BasicMode + 1 - offset))));
    }

    private void WriteCommand(byte value)
    {
        if ((value & ResetBit) != 0)
            ResetEngines();
        Cable.Wake();
    }

    private void DriveEeprom()
    {
        ref byte wires = ref _registers[Rtl8139Register.EepromCommand];
        if ((wires & EepromMode) == AutoLoad)
        {
            LoadFromEeprom();
            wires = 0;
        }

        bool isProgram = (wires & EepromMode) == Program;
        _eeprom.Drive(isProgram && (wires & Select) != 0, isProgram && (wires & Clock) != 0, (wires & DataIn) != 0);
    }

    private void WriteBasicMode(byte high)
    {
        const byte TransceiverReset = 0x80, Negotiate = 0x02;
        if ((high & TransceiverReset) != 0)
            Set(Rtl8139Register.BasicMode, 2, 0x1100);
        if ((high & Negotiate) != 0)
            Raise(LinkChange);
    }

    private sealed class Window(Rtl8139 owner) : IIoRegion
    {
        public string Name => owner.SectionName;

        public ulong Read(ulong offset, int size)
        {
            if (offset == Rtl8139Register.Timer && size == 4)
                return owner.Ticks;
            ulong value = 0;
            for (int i = 0; i < size; i++)
                value |= (ulong)(offset + (uint)i < Rtl8139Register.Length ? owner.Read((int)offset + i) : (byte)0xFF) << (8 * i);
            return value;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            if (offset < Rtl8139Register.Length)
                owner.Write((int)offset, size, value);
        }
    }
}
