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

    /// <inheritdoc/>
    public virtual uint ReadConfig(int offset, int size) => Config.Get(offset, size);

    /// <inheritdoc/>
    public virtual void WriteConfig(int offset, int size, uint value)
    {
        Config.Write(offset, size, value);
        if (offset < PciConfigSpace.Command + 2 && offset + size > PciConfigSpace.Command)
        {
            UpdateMappings();
            UpdateInterrupt();
        }
        else if (offset is >= PciConfigSpace.FirstBar and < 0x28)
        {
            UpdateMappings();
        }
    }

    /// <inheritdoc/>
    public virtual void Reset()
    {
        Config.Reset();
        _interruptPending = false;
        UpdateMappings();
        UpdateInterrupt();
    }

    /// <inheritdoc/>
    public virtual void Save(StateWriter writer)
    {
        Config.Save(writer);
        writer.Write(_interruptPending);
    }

    /// <inheritdoc/>
    public virtual void Restore(StateReader reader, int version)
    {
        StateCheck.Version(SectionName, version, SectionVersion);
        byte[] config = Config.ReadState(reader, SectionName);
        bool pending = reader.ReadBool();
        Config.Adopt(config);
        _interruptPending = pending;
        UpdateMappings();
        UpdateInterrupt();
    }

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

    private ulong AddressOf(PciBar bar)
    {
        ulong value = Config.Get(bar.Offset, 4);
        if (bar.Is64Bit)
            value |= (ulong)Config.Get(bar.Offset + 4, 4) << 32;
        return value & ~(bar.Size - 1) & (bar.IsPort ? ~3UL : ~15UL);
    }

    private void UpdateMappings()
    {
        foreach (PciBar bar in _bars)
        {
            ulong address = AddressOf(bar);
            bool wanted = address != 0 && (bar.IsPort ? Config.DecodesPorts : Config.DecodesMemory);
            IoBus bus = bar.IsPort ? _portBus : _memoryBus;
            if (_mapped.TryGetValue(bar, out ulong old))
            {
                if (wanted && old == address)
                    continue;
                bus.Unmap(old);
                _mapped.Remove(bar);
            }

            // A guest sizes registers by writing all ones, and may place one over another device: then nobody answers.
            if (wanted && bus.TryMap(address, bar.Size, bar.Region))
                _mapped[bar] = address;
        }
    }

    private void UpdateInterrupt()
    {
        uint status = Config.Get(PciConfigSpace.Status, 2);
        Config.Set(PciConfigSpace.Status, 2, _interruptPending ? status | 8 : status & ~8u);
        InterruptLine.Set(_interruptPending && !Config.InterruptDisabled);
    }
}
