using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;
using Doppel.Machine.State;

namespace Doppel.Devices.Pci;

/// <summary>
/// Base of the functions on the bus: configuration space, base address registers that appear on the buses as the guest
/// places them, and the INTx wire. A derived device adds its registers, its state, and capabilities such as MSI-X.
/// </summary>
public abstract class PciFunction : IPciFunction
{
    private readonly IoBus _portBus;
    private readonly IoBus _memoryBus;
    private readonly List<PciBar> _bars = [];
    private readonly Dictionary<PciBar, ulong> _mapped = [];
    private MsixCapability? _msix;
    private MsiCapability? _msi;
    private bool _interruptPending;

    /// <summary>Creates a function that is not on a bus yet.</summary>
    /// <param name="sectionName">Name of its saved section.</param>
    /// <param name="config">Its configuration space.</param>
    /// <param name="portBus">Where port registers appear.</param>
    /// <param name="memoryBus">Where memory registers appear.</param>
    protected PciFunction(string sectionName, PciConfigSpace config, IoBus portBus, IoBus memoryBus)
    {
        SectionName = sectionName;
        Config = config;
        _portBus = portBus;
        _memoryBus = memoryBus;
    }

    /// <inheritdoc/>
    public string SectionName { get; }

    /// <inheritdoc/>
    public virtual int SectionVersion => 1;

    /// <summary>The configuration space.</summary>
    public PciConfigSpace Config { get; }

    /// <summary>The INTx wire that the bus gave the function; leads nowhere until then.</summary>
    public IInterruptLine InterruptLine { get; internal set; } = DisconnectedLine.Instance;

    /// <summary>The base address registers.</summary>
    public IReadOnlyList<PciBar> Bars => _bars;

    /// <summary>True while the guest uses messages (MSI-X or MSI) in place of INTx.</summary>
    public bool UsesMessages => _msix is { IsEnabled: true } || _msi is { IsEnabled: true };

    /// <summary>Called after a mapping has gone, so that a region that was covered by it can appear.</summary>
    internal Action<PciFunction>? MappingReleased { get; set; }

    /// <summary>INTA to INTD as 1 to 4; 0 when the function uses none.</summary>
    public byte InterruptPin
    {
        get => (byte)Config.Get(0x3D, 1);
        protected set => Config.Define(0x3D, 1, value);
    }

    /// <summary>Where a base address register maps its region now; null when it does not.</summary>
    public ulong? MappedAt(PciBar bar) => _mapped.TryGetValue(bar, out ulong start) ? start : null;

    /// <summary>Drives INTx; it is held back while the guest disables it. Status bit 3 shows it either way.</summary>
    public void SetInterrupt(bool asserted)
    {
        _interruptPending = asserted;
        UpdateInterrupt();
    }

    /// <summary>Sends a message; nothing happens unless <see cref="UsesMessages"/>.</summary>
    /// <param name="vector">Number of the message in MSI-X's table, or of MSI.</param>
    public void SendMessage(int vector)
    {
        if (_msix is { IsEnabled: true })
            _msix.Raise(vector);
        else
            _msi?.Raise(vector);
    }

    /// <inheritdoc/>
    public virtual uint ReadConfig(int offset, int size) => Config.Get(offset, size);

    /// <inheritdoc/>
    public virtual void WriteConfig(int offset, int size, uint value)
    {
        Config.Write(offset, size, value);
        if (offset < PciConfigSpace.Command + 2 && offset + size > PciConfigSpace.Command)
        {
            UpdateMappings(mayRelease: true);
            UpdateInterrupt();
        }
        else if (offset is (>= PciConfigSpace.FirstBar and < 0x28) or (>= 0x30 and < 0x34))
        {
            UpdateMappings(mayRelease: true);
        }
        else if (UsesMessages || _interruptPending)
        {
            // The write may have gone to a capability and turned messages on or off.
            UpdateInterrupt();
        }

        _msix?.Update();
        _msi?.Update();
    }

    /// <inheritdoc/>
    public virtual void Reset()
    {
        Config.Reset();
        _msix?.Reset();
        _interruptPending = false;
        UpdateMappings(mayRelease: true);
        UpdateInterrupt();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        Config.Save(writer);
        writer.Write(_interruptPending);
        _msix?.Save(writer);
        SaveFunction(writer);
    }

    /// <inheritdoc/>
    public void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] config = Config.ReadState(reader, SectionName);
        bool pending = reader.ReadBool();
        (byte[], ulong[])? msix = _msix?.ReadState(reader, SectionName);
        Action? adopt = ReadFunction(reader);
        Config.Adopt(config);
        if (msix is { } table)
            _msix!.Adopt(table);
        _interruptPending = pending;
        UpdateMappings(mayRelease: true);
        UpdateInterrupt();
        adopt?.Invoke();
    }

    /// <summary>Writes what only this function has, behind what all functions have.</summary>
    protected virtual void SaveFunction(StateWriter writer)
    {
    }

    /// <summary>Reads and checks what <see cref="SaveFunction"/> wrote; keeps nothing yet.</summary>
    /// <returns>Takes it over, once the whole section is known to be good; null for nothing.</returns>
    /// <exception cref="InvalidDataException">A value is out of range.</exception>
    protected virtual Action? ReadFunction(StateReader reader) => null;

    /// <summary>Adds a base address register. Only while the device is being constructed.</summary>
    protected void AddBar(PciBar bar)
    {
        ArgumentNullException.ThrowIfNull(bar);
        ulong least = bar.IsPort ? 4u : 16u;
        if (bar.Size < least || !ulong.IsPow2(bar.Size) || bar.Index < 0 || bar.Index + (bar.Is64Bit ? 1 : 0) > 5)
            throw new ArgumentException($"base address register {bar.Index} of {bar.Size} bytes: the size must be a power of two from {least}, the index 0 to 5", nameof(bar));
        ulong mask = ~(bar.Size - 1);
        Config.Define(bar.Offset, 4, bar.TypeBits, writable: (uint)mask);
        if (bar.Is64Bit)
            Config.Define(bar.Offset + 4, 4, 0, writable: (uint)(mask >> 32));
        _bars.Add(bar);
    }

    /// <summary>Gives the function an expansion ROM (PCI 3.0, 6.2.5.2). Only before it is on a bus.</summary>
    /// <param name="image">Its bytes; padded with zeros to a power of two from 2 KiB on.</param>
    public void AddRom(ReadOnlyMemory<byte> image)
    {
        ulong size = System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(image.Length, 2048));
        var bar = new PciBar(PciBar.RomIndex, size, new PciRom(SectionName + "-rom", image));
        Config.Define(bar.Offset, 4, 0, writable: (uint)~(size - 1) | 1);
        _bars.Add(bar);
    }

    /// <summary>Told where a base address register maps its region now; null when nowhere. With the I/O lock held.</summary>
    protected virtual void OnMapped(PciBar bar, ulong? address)
    {
    }

    /// <summary>Gives the function MSI-X, with its table in a base address register of its own. Only while the device is being constructed.</summary>
    /// <param name="messages">Where messages go.</param>
    /// <param name="vectors">Number of messages, 1 to 2048.</param>
    /// <param name="barIndex">The base address register, 0 to 5; 32-bit memory.</param>
    protected void AddMsix(IMessageSink messages, int vectors, int barIndex)
    {
        _msix = new MsixCapability(Config, messages, vectors, barIndex);
        AddBar(new PciBar(barIndex, (ulong)_msix.RegionSize, _msix));
    }

    /// <summary>Gives the function MSI. Only while the device is being constructed.</summary>
    /// <param name="messages">Where messages go.</param>
    /// <param name="vectors">Number of messages: a power of two, 1 to 32.</param>
    protected void AddMsi(IMessageSink messages, int vectors) => _msi = new MsiCapability(Config, messages, vectors);

    /// <summary>Maps what could not be mapped before.</summary>
    internal void UpdateMappings() => UpdateMappings(mayRelease: false);

    private ulong AddressOf(PciBar bar)
    {
        ulong value = Config.Get(bar.Offset, 4);
        if (bar.Is64Bit)
            value |= (ulong)Config.Get(bar.Offset + 4, 4) << 32;
        return value & ~(bar.Size - 1) & (bar.IsPort ? ~3UL : ~15UL);
    }

    private void UpdateMappings(bool mayRelease)
    {
        // All old places are left before a new one is taken: registers may trade places.
        bool released = false;
        foreach (PciBar bar in _bars)
        {
            if (!_mapped.TryGetValue(bar, out ulong old) || old == WantedAddress(bar))
                continue;
            BusOf(bar).Unmap(old);
            _mapped.Remove(bar);
            OnMapped(bar, null);
            released = true;
        }

        foreach (PciBar bar in _bars)
        {
            // A guest sizes registers by writing all ones, and may place one over another device: then nobody answers.
            if (!_mapped.ContainsKey(bar) && WantedAddress(bar) is ulong address && BusOf(bar).TryMap(address, bar.Size, bar.Region))
            {
                _mapped[bar] = address;
                OnMapped(bar, address);
            }
        }

        if (released && mayRelease)
            MappingReleased?.Invoke(this);
    }

    private IoBus BusOf(PciBar bar) => bar.IsPort ? _portBus : _memoryBus;

    private ulong? WantedAddress(PciBar bar)
    {
        ulong address = AddressOf(bar);
        if (bar.IsRom && (Config.Get(bar.Offset, 1) & 1) == 0)
            return null;
        return address != 0 && (bar.IsPort ? Config.DecodesPorts : Config.DecodesMemory) ? address : null;
    }

    private void UpdateInterrupt()
    {
        uint status = Config.Get(PciConfigSpace.Status, 2);
        Config.Set(PciConfigSpace.Status, 2, _interruptPending ? status | 8 : status & ~8u);
        InterruptLine.Set(_interruptPending && !Config.InterruptDisabled && !UsesMessages);
    }
}
