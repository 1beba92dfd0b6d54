namespace Doppel.Machine.Cpu.Events;

/// <summary>The instruction that raises a software interrupt; privilege rules differ (Intel SDM vol. 2, INT n).</summary>
public enum SoftwareInterruptKind
{
    /// <summary>INT n (CD ib): checks the gate's DPL, and IOPL or the redirection bitmap in virtual-8086 mode.</summary>
    Int,

    /// <summary>INT3 (CC): checks the gate's DPL.</summary>
    Int3,

    /// <summary>INTO (CE) with OF set: checks the gate's DPL.</summary>
    Into,

    /// <summary>INT1 (F1): no privilege check, as for a hardware event.</summary>
    Int1,
}
