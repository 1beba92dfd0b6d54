namespace Doppel.Machine.Cpu.Segments;

/// <summary>Types of system descriptors (S = 0), bits 40 to 43 (Intel SDM vol. 3, table 3-2).</summary>
public enum DescriptorType
{
    /// <summary>Reserved.</summary>
    Reserved0 = 0,

    /// <summary>16-bit TSS, available; reserved in long mode.</summary>
    Tss16Available = 1,

    /// <summary>Local descriptor table.</summary>
    Ldt = 2,

    /// <summary>16-bit TSS, busy; reserved in long mode.</summary>
    Tss16Busy = 3,

    /// <summary>16-bit call gate; reserved in long mode.</summary>
    CallGate16 = 4,

    /// <summary>Task gate; reserved in long mode.</summary>
    TaskGate = 5,

    /// <summary>16-bit interrupt gate; reserved in long mode.</summary>
    InterruptGate16 = 6,

    /// <summary>16-bit trap gate; reserved in long mode.</summary>
    TrapGate16 = 7,

    /// <summary>32-bit TSS (64-bit in long mode), available.</summary>
    Tss32Available = 9,

    /// <summary>32-bit TSS (64-bit in long mode), busy.</summary>
    Tss32Busy = 11,

    /// <summary>32-bit call gate (64-bit in long mode).</summary>
    CallGate32 = 12,

    /// <summary>32-bit interrupt gate (64-bit in long mode).</summary>
    InterruptGate32 = 14,

    /// <summary>32-bit trap gate (64-bit in long mode).</summary>
    TrapGate32 = 15,
}
