using Doppel.Machine.Bus;
using Doppel.Machine.State;

namespace Doppel.Machine.Interrupts;

/// <summary>
/// An I/O APIC with 24 inputs (Intel 82093AA data sheet; version 20h with the EOI register of the ICH). Inputs carry
/// logical levels: a device asserts its line, and the polarity bit is kept for the guest without a further meaning.
/// Registers are called with the I/O lock held; lines and EOIs may come from any thread. Its lock is taken before that
/// of a local APIC, never after.
/// </summary>
public sealed class IoApic : IIoRegion, IStateful, IEoiListener
{
    /// <summary>Number of inputs.</summary>
    public const int PinCount = 24;

    private const ulong RemoteIrr = 1 << 14;
    private const ulong LevelTriggered = 1 << 15;
    private const ulong Masked = 1 << 16;
    private const ulong Writable = 0xFF00_0000_0001_AFFF;
    private const uint VersionRegister = 0x20 | ((PinCount - 1) << 16);
    private readonly Lock _lock = new();
    private readonly ApicBus _bus;
    private readonly ulong[] _redirection = new ulong[PinCount];
    private readonly Line[] _pins;
    private readonly byte _initialId;
    private uint _levels;
    private byte _select;
    private byte _id;

    /// <summary>Creates the chip in its reset state (all inputs masked) and connects it to the bus.</summary>
    /// <param name="bus">Where its messages go and EOIs come from.</param>
    /// <param name="id">APIC id after reset, 0 to 15; the MADT names it.</param>
    public IoApic(ApicBus bus, byte id = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(id, 15);
        _bus = bus;
        _initialId = id;
        _pins = [.. Enumerable.Range(0, PinCount).Select(n => new Line(this, n))];
        Reset();
        bus.Add(this);
    }

    /// <inheritdoc/>
    public string Name => "ioapic";

    /// <inheritdoc/>
    public string SectionName => "ioapic";

    /// <inheritdoc/>
    public int SectionVersion => 1;

    /// <summary>An input, 0 to 23 (global system interrupt of the same number). Any thread may drive it.</summary>
    public IInterruptLine Pin(int n)
    {
        if ((uint)n >= PinCount)
            throw new ArgumentOutOfRangeException(nameof(n), n, $"an IOAPIC input is 0 to {PinCount - 1}");
        return _pins[n];
    }

    /// <summary>The state after RESET#. The levels of the inputs stay: they belong to the devices.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Array.Fill(_redirection, Masked);
            _select = 0;
            _id = _initialId;
        }
    }

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        int shift = (int)(offset & 3) * 8;
        ulong mask = size >= 4 ? uint.MaxValue : (1UL << (size * 8)) - 1;
        lock (_lock)
        {
            uint value = (offset & ~3UL) switch
            {
                0x00 => _select,
                0x10 => ReadSelected(),
                _ => 0,
            };
            return (value >> shift) & mask;
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        lock (_lock)
        {
            switch (offset)
            {
                case 0x00:
                    _select = (byte)value;
                    break;
                case 0x10:
                    WriteSelected((uint)value);
                    break;
                case 0x40:
                    End((byte)value);
                    break;
            }
        }
    }

    /// <inheritdoc/>
    public void EndOfInterrupt(byte vector)
    {
        lock (_lock)
            End(vector);
    }

    /// <inheritdoc/>
    public void ShowLevelMessages()
    {
        lock (_lock)
            ShowMessages();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            writer.Write(_id);
            writer.Write(_select);
            writer.Write(_levels);
            foreach (ulong entry in _redirection)
                writer.Write(entry);
        }
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"ioapic: version {version} is unknown; {SectionVersion} is expected");
        byte id = reader.ReadByte();
        if (id > 15)
            throw new InvalidDataException($"ioapic: id is {id}; it must be 0 to 15");
        byte select = reader.ReadByte();
        uint levels = reader.ReadUInt32();
        if (levels >> PinCount != 0)
            throw new InvalidDataException($"ioapic: levels are 0x{levels:x}; there are {PinCount} inputs");
        ulong[] entries = new ulong[PinCount];
        for (int i = 0; i < PinCount; i++)
        {
            entries[i] = reader.ReadUInt64();
            if ((entries[i] & ~(Writable | RemoteIrr)) != 0)
                throw new InvalidDataException($"ioapic: redirection entry {i} is 0x{entries[i]:x}, with reserved bits");
        }

        lock (_lock)
        {
            _id = id;
            _select = select;
            _levels = levels;
            entries.CopyTo(_redirection, 0);
        }
    }

    private uint ReadSelected()
    {
        int entry = (_select - 0x10) >> 1;
        return _select switch
        {
            0 or 2 => (uint)_id << 24,
            1 => VersionRegister,
            >= 0x10 when entry < PinCount => (uint)(_redirection[entry] >> ((_select & 1) * 32)),
            _ => 0,
        };
    }

    private void WriteSelected(uint value)
    {
        if (_select == 0)
            _id = (byte)((value >> 24) & 0xF);
        int pin = (_select - 0x10) >> 1;
        if (_select < 0x10 || pin >= PinCount)
            return;
        ulong entry = _redirection[pin];
        entry = (_select & 1) != 0
            ? (entry & uint.MaxValue) | ((ulong)value << 32)
            : (entry & ~(ulong)uint.MaxValue) | value;
        entry = (entry & Writable) | (_redirection[pin] & RemoteIrr);
        // An edge-triggered entry has no remote IRR; guests clear a stuck one by a detour through edge mode.
        if ((entry & LevelTriggered) == 0)
            entry &= ~RemoteIrr;
        bool changesLevel = ((entry | _redirection[pin]) & LevelTriggered) != 0;
        _redirection[pin] = entry;
        if (changesLevel)
            ShowMessages();
        if ((entry & LevelTriggered) != 0)
            ServiceLevel(pin);
    }

    private void SetLevel(int pin, bool asserted)
    {
        lock (_lock)
        {
            uint bit = 1u << pin;
            if (asserted == ((_levels & bit) != 0))
                return;
            _levels ^= bit;
            // An edge on a masked input is lost (82093AA, 3.2.4, interrupt mask).
            if ((_redirection[pin] & LevelTriggered) != 0)
                ServiceLevel(pin);
            else if (asserted && (_redirection[pin] & Masked) == 0)
                _ = SendEntry(_redirection[pin], isLevel: false);
        }
    }

    private void ServiceLevel(int pin)
    {
        ulong entry = _redirection[pin];
        if ((_levels & (1u << pin)) == 0 || (entry & (Masked | RemoteIrr)) != 0)
            return;
        // An EOI that follows at once on another thread waits for the lock, so it finds remote IRR set.
        if (SendEntry(entry, isLevel: true))
            _redirection[pin] = entry | RemoteIrr;
    }

    private bool SendEntry(ulong entry, bool isLevel)
    {
        // NMI, INIT and ExtINT are edge-triggered whatever the entry says: nobody will send an EOI for them.
        ApicMessage message = MessageOf(entry, isLevel);
        return _bus.Send(message) && message.HasVector;
    }

    private static ApicMessage MessageOf(ulong entry, bool isLevel)
    {
        var message = new ApicMessage(
            ApicMessage.WidenDestination((byte)(entry >> 56)),
            (entry & (1 << 11)) != 0,
            (ApicDeliveryMode)((entry >> 8) & 7),
            (byte)entry,
            isLevel);
        return message with { IsLevel = isLevel && message.HasVector };
    }

    // Masked ones too: an interrupt may be masked before its end.
    private void ShowMessages() =>
        _bus.ShowLevelMessages([.. _redirection.Where(entry => (entry & LevelTriggered) != 0).Select(entry => MessageOf(entry, isLevel: true)).Where(message => message.IsLevel)]);

    private void End(byte vector)
    {
        for (int pin = 0; pin < PinCount; pin++)
        {
            ulong entry = _redirection[pin];
            if ((entry & (LevelTriggered | RemoteIrr)) != (LevelTriggered | RemoteIrr) || (byte)entry != vector)
                continue;
            _redirection[pin] = entry & ~RemoteIrr;
            ServiceLevel(pin);
        }
    }

    private sealed class Line(IoApic owner, int pin) : IInterruptLine
    {
        public void Set(bool asserted) => owner.SetLevel(pin, asserted);
    }
}
