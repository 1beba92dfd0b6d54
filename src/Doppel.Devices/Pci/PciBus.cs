using Doppel.Machine.Bus;
using Doppel.Machine.Interrupts;

namespace Doppel.Devices.Pci;

/// <summary>
/// PCI bus 0: which function sits where, and the wiring of the INTx pins to the four interrupt links. It holds no state
/// of its own; the functions save theirs. The machine's I/O lock guards it.
/// </summary>
public sealed class PciBus
{
    private readonly IPciFunction?[] _functions = new IPciFunction?[256];
    private readonly WiredOr[] _links;
    private readonly int _firstLink;

    /// <summary>Creates an empty bus.</summary>
    /// <param name="interrupts">The wire of a global system interrupt: links 0 to 3 lead to <see cref="PcPorts.PciFirstGsi"/> and the following. Null for none.</param>
    /// <param name="firstLink">Link of slot 0's INTA, 0 to 3: 3 on a board with a PIIX3, which counts from slot 1 on.</param>
    public PciBus(Func<int, IInterruptLine>? interrupts = null, int firstLink = 0)
    {
        _firstLink = firstLink;
        _links = new WiredOr[PcPorts.PciGsiCount];
        for (int i = 0; i < _links.Length; i++)
            _links[i] = new WiredOr(interrupts?.Invoke(PcPorts.PciFirstGsi + i) ?? DisconnectedLine.Instance);
    }

    /// <summary>The functions on the bus, by address.</summary>
    public IEnumerable<(PciAddress Address, IPciFunction Function)> Functions
    {
        get
        {
            for (int i = 0; i < _functions.Length; i++)
            {
                if (_functions[i] is IPciFunction function)
                    yield return (PciAddress.FromPacked((ushort)i), function);
            }
        }
    }

    /// <summary>Link, 0 to 3, of a slot's interrupt pin (1 to 4): (slot + pin - 1 + the first link) mod 4.</summary>
    public int LinkOf(int slot, int pin) => (slot + pin - 1 + _firstLink) & 3;

    /// <summary>Puts a function on the bus and connects its interrupt pin.</summary>
    /// <exception cref="InvalidOperationException">The place is taken, or is not on bus 0.</exception>
    public void Add(PciAddress address, IPciFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        if (address.Bus != 0 || address.Device > 31 || address.Function > 7)
            throw new InvalidOperationException($"{function.SectionName} at {address}: only bus 0 exists, with slots 0 to 31 and functions 0 to 7");
        if (_functions[address.Packed] is IPciFunction other)
            throw new InvalidOperationException($"{function.SectionName} at {address}: {other.SectionName} is there already");
        _functions[address.Packed] = function;
        if (function is not PciFunction device)
            return;
        device.MappingReleased = RetryMappings;
        if (device.InterruptPin > 0)
            device.InterruptLine = _links[LinkOf(address.Device, device.InterruptPin)].AddInput();
    }

    /// <summary>The function at an address; null when the slot is empty.</summary>
    public IPciFunction? Find(PciAddress address) => address.Bus == 0 ? _functions[address.Packed & 0xFF] : null;

    // A function whose registers lay under another's appears when that one moves away.
    private void RetryMappings(PciFunction mover)
    {
        foreach (IPciFunction? function in _functions)
        {
            if (function is PciFunction other && other != mover)
                other.UpdateMappings();
        }
    }

    /// <summary>Configuration read; all ones where there is no function.</summary>
    public uint ReadConfig(PciAddress address, int offset, int size)
    {
        uint ones = size == 4 ? uint.MaxValue : (1u << (8 * size)) - 1;
        return Find(address) is IPciFunction function ? function.ReadConfig(offset, size) & ones : ones;
    }

    /// <summary>Configuration write; dropped where there is no function.</summary>
    public void WriteConfig(PciAddress address, int offset, int size, uint value) =>
        Find(address)?.WriteConfig(offset, size, value);
}
