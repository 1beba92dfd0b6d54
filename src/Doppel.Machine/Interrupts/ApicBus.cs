namespace Doppel.Machine.Interrupts;

/// <summary>
/// What carries messages between local APICs, IOAPICs and devices: finds the destinations and hands them over. Any
/// thread. It has no lock of its own: the parts are added before the machine runs. Lock order of the interrupt system:
/// I/O lock, then an IOAPIC's, then a local APIC's, then the clock's; a local APIC sends without holding its lock.
/// </summary>
public sealed class ApicBus : IMessageSink
{
    private LocalApic[] _apics = [];
    private IEoiListener[] _listeners = [];

    /// <summary>The local APICs in the order in which they were added.</summary>
    public IReadOnlyList<LocalApic> LocalApics => _apics;

    /// <summary>Connects an IOAPIC, so that it hears EOIs.</summary>
    public void Add(IEoiListener listener) => _listeners = [.. _listeners, listener];

    /// <inheritdoc/>
    public void Deliver(ulong address, uint data)
    {
        // Outside FEEx_xxxxh the write would go to memory; as a message it has no meaning.
        if ((address & ~0xF_FFFFUL) != 0xFEE0_0000)
            return;
        byte destination = (byte)(address >> 12);
        var mode = (ApicDeliveryMode)((data >> 8) & 7);
        bool isLogical = (address & 4) != 0;
        // The redirection hint asks for one destination, whatever the delivery mode says (Intel SDM vol. 3, 11.11.1).
        if ((address & 8) != 0 && mode == ApicDeliveryMode.Fixed)
            mode = ApicDeliveryMode.LowestPriority;
        _ = Send(new ApicMessage(ApicMessage.WidenDestination(destination), isLogical, mode, (byte)data, (data & 0x8000) != 0));
    }

    /// <summary>Sends a message to all destinations that match, or for lowest priority to the one that is least busy.</summary>
    /// <param name="message">The message.</param>
    /// <param name="except">An APIC that is left out (shorthand "all excluding self"); null for none.</param>
    /// <returns>True when an APIC has accepted it.</returns>
    public bool Send(in ApicMessage message, LocalApic? except = null)
    {
        if (message.Mode == ApicDeliveryMode.LowestPriority)
            return SendLowest(message, except);
        bool accepted = false;
        foreach (LocalApic apic in _apics)
        {
            if (apic != except && apic.Matches(message.Destination, message.IsLogical))
                accepted |= apic.Accept(message.Mode, message.Vector, message.IsLevel);
        }

        return accepted;
    }

    internal void Add(LocalApic apic) => _apics = [.. _apics, apic];

    internal void BroadcastEoi(byte vector)
    {
        foreach (IEoiListener listener in _listeners)
            listener.EndOfInterrupt(vector);
    }

    private bool SendLowest(in ApicMessage message, LocalApic? except)
    {
        LocalApic? best = null;
        int bestPriority = int.MaxValue;
        foreach (LocalApic apic in _apics)
        {
            if (apic == except || !apic.Matches(message.Destination, message.IsLogical))
                continue;
            int priority = apic.ArbitrationPriorityFor(message.Vector);
            if (priority < bestPriority)
            {
                best = apic;
                bestPriority = priority;
            }
        }

        return best is not null && best.Accept(ApicDeliveryMode.Fixed, message.Vector, message.IsLevel);
    }
}
