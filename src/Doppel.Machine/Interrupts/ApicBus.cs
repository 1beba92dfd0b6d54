namespace Doppel.Machine.Interrupts;

/// <summary>
/// What carries messages between local APICs, IOAPICs and devices: finds the destinations and hands them over. Any
/// thread. The parts are added before the machine runs. Lock order of the interrupt system:
/// I/O lock, then an IOAPIC's, then this one's of who keeps the local APICs, then a local APIC's, then the clock's; a local
/// APIC sends without holding its lock.
/// </summary>
public sealed class ApicBus : IMessageSink
{
    private LocalApic[] _apics = [];
    private IEoiListener[] _listeners = [];
    private readonly Lock _keeping = new();
    private IApicKeeper? _keeper;

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
        if (Volatile.Read(ref _keeper) is not null)
        {
            lock (_keeping)
            {
                if (_keeper is IApicKeeper keeper)
                    return keeper.Send(message);
            }
        }

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

    /// <summary>
    /// Gives all local APICs to a keeper, to whom messages go from now on. Every vCPU stands still; devices may send meanwhile,
    /// and nothing is lost. No lock of the interrupt system is held.
    /// </summary>
    public void HandOver(IApicKeeper keeper)
    {
        lock (_keeping)
        {
            foreach (LocalApic apic in _apics)
                apic.HandOver(keeper);
            Volatile.Write(ref _keeper, keeper);
        }

        foreach (IEoiListener listener in _listeners)
            listener.ShowLevelMessages();
    }

    /// <summary>Takes them back, under the same conditions; does nothing when nobody keeps them.</summary>
    public void TakeBack()
    {
        lock (_keeping)
        {
            Volatile.Write(ref _keeper, null);
            foreach (LocalApic apic in _apics)
                apic.TakeBack();
        }
    }

    /// <summary>Tells the IOAPICs of the end of a level-triggered interrupt. Any thread, without a lock of the interrupt system.</summary>
    public void BroadcastEoi(byte vector)
    {
        foreach (IEoiListener listener in _listeners)
            listener.EndOfInterrupt(vector);
    }

    internal void ShowLevelMessages(IReadOnlyList<ApicMessage> messages)
    {
        if (Volatile.Read(ref _keeper) is IApicKeeper keeper)
            keeper.SetLevelMessages(messages);
    }

    internal void Add(LocalApic apic) => _apics = [.. _apics, apic];

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
