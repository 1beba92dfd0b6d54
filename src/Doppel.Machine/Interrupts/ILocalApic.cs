namespace Doppel.Machine.Interrupts;

/// <summary>What a vCPU asks of its local APIC. Safe to call from the vCPU's thread at any time.</summary>
public interface ILocalApic
{
    /// <summary>The task priority register's bits 7 to 4, as CR8 shows them: 0 to 15.</summary>
    byte Cr8 { get; set; }

    /// <summary>IA32_APIC_BASE (MSR 1Bh). Writing an illegal combination returns false: the caller raises #GP.</summary>
    ulong ApicBase { get; }

    /// <summary>Writes IA32_APIC_BASE; false for a reserved bit or an illegal mode change.</summary>
    bool TryWriteApicBase(ulong value);

    /// <summary>True when an interrupt could be delivered now: one above the processor priority, or an ExtINT from the PIC.</summary>
    bool HasInterrupt { get; }

    /// <summary>Acknowledges the highest interrupt and returns its vector; -1 if there is none any more.</summary>
    int Acknowledge();

    /// <summary>Vector of the last start-up IPI.</summary>
    byte SipiVector { get; }

    /// <summary>Reads an x2APIC MSR (800h to 8FFh). False: #GP.</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes an x2APIC MSR. False: #GP.</summary>
    bool TryWriteMsr(uint index, ulong value);

    /// <summary>IA32_TSC_DEADLINE (MSR 6E0h), in guest TSC ticks; 0 is disarmed. After a change of the vCPU's TSC offset it must be written again.</summary>
    ulong TscDeadline { get; set; }

    /// <summary>Reads the registers anew where somebody else keeps them (<see cref="IApicKeeper"/>). The vCPU stands still.</summary>
    void Refresh();

    /// <summary>Puts the registers into the state after INIT (keeps the APIC id and the base). Call it after <c>VirtualCpu.Init</c>.</summary>
    void Init();
}

/// <summary>A CPU without a local APIC: never an interrupt, no MSR.</summary>
public sealed class AbsentLocalApic : ILocalApic
{
    /// <summary>The only instance needed: there is no state.</summary>
    public static readonly AbsentLocalApic Instance = new();

    private AbsentLocalApic()
    {
    }

    /// <inheritdoc/>
    public byte Cr8 { get => 0; set { } }

    /// <inheritdoc/>
    public ulong ApicBase => 0;

    /// <inheritdoc/>
    public bool HasInterrupt => false;

    /// <inheritdoc/>
    public byte SipiVector => 0;

    /// <inheritdoc/>
    public ulong TscDeadline { get => 0; set { } }

    /// <inheritdoc/>
    public bool TryWriteApicBase(ulong value) => value == 0;

    /// <inheritdoc/>
    public int Acknowledge() => -1;

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value) => false;

    /// <inheritdoc/>
    public void Refresh()
    {
    }

    /// <inheritdoc/>
    public void Init()
    {
    }
}
