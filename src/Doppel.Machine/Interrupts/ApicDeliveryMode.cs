namespace Doppel.Machine.Interrupts;

/// <summary>Delivery modes of interrupt messages, the three-bit field at bit 8 (Intel SDM vol. 3, 11.5.1 and 11.6.1).</summary>
public enum ApicDeliveryMode : byte
{
    /// <summary>The vector, to all destinations.</summary>
    Fixed = 0,

    /// <summary>The vector, to the destination with the lowest priority.</summary>
    LowestPriority = 1,

    /// <summary>System management interrupt; this machine has none and drops it.</summary>
    Smi = 2,

    /// <summary>No meaning; dropped.</summary>
    Reserved = 3,

    /// <summary>Non-maskable interrupt.</summary>
    Nmi = 4,

    /// <summary>INIT.</summary>
    Init = 5,

    /// <summary>Start-up; the vector is the page to start at.</summary>
    StartUp = 6,

    /// <summary>The vector comes from the 8259s.</summary>
    ExtInt = 7,
}
