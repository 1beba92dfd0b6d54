namespace Doppel.Machine.Interrupts;

/// <summary>Offsets of the local APIC's registers in its page (Intel SDM vol. 3, table 11-1). The x2APIC MSR is 800h + offset / 16.</summary>
public static class ApicRegister
{
    /// <summary>APIC id.</summary>
    public const int Id = 0x020;

    /// <summary>Version and number of LVT entries.</summary>
    public const int Version = 0x030;

    /// <summary>Task priority.</summary>
    public const int TaskPriority = 0x080;

    /// <summary>Arbitration priority; xAPIC only.</summary>
    public const int ArbitrationPriority = 0x090;

    /// <summary>Processor priority.</summary>
    public const int ProcessorPriority = 0x0A0;

    /// <summary>End of interrupt.</summary>
    public const int Eoi = 0x0B0;

    /// <summary>Remote read; xAPIC only, reads as zero.</summary>
    public const int RemoteRead = 0x0C0;

    /// <summary>Logical destination.</summary>
    public const int LogicalDestination = 0x0D0;

    /// <summary>Destination format; xAPIC only.</summary>
    public const int DestinationFormat = 0x0E0;

    /// <summary>Spurious-interrupt vector, with the software enable bit.</summary>
    public const int SpuriousVector = 0x0F0;

    /// <summary>First of eight in-service registers.</summary>
    public const int InService = 0x100;

    /// <summary>First of eight trigger mode registers.</summary>
    public const int TriggerMode = 0x180;

    /// <summary>First of eight interrupt request registers.</summary>
    public const int Request = 0x200;

    /// <summary>Error status.</summary>
    public const int ErrorStatus = 0x280;

    /// <summary>Interrupt command, low half; the whole of it as an MSR.</summary>
    public const int InterruptCommand = 0x300;

    /// <summary>Interrupt command, high half; xAPIC only.</summary>
    public const int InterruptCommandHigh = 0x310;

    /// <summary>LVT: timer.</summary>
    public const int LvtTimer = 0x320;

    /// <summary>LVT: thermal sensor.</summary>
    public const int LvtThermal = 0x330;

    /// <summary>LVT: performance counters.</summary>
    public const int LvtPerformance = 0x340;

    /// <summary>LVT: input LINT0.</summary>
    public const int LvtLint0 = 0x350;

    /// <summary>LVT: input LINT1.</summary>
    public const int LvtLint1 = 0x360;

    /// <summary>LVT: error.</summary>
    public const int LvtError = 0x370;

    /// <summary>Timer's initial count.</summary>
    public const int InitialCount = 0x380;

    /// <summary>Timer's current count.</summary>
    public const int CurrentCount = 0x390;

    /// <summary>Timer's divide configuration.</summary>
    public const int DivideConfiguration = 0x3E0;

    /// <summary>Self IPI; x2APIC only.</summary>
    public const int SelfIpi = 0x3F0;
}
