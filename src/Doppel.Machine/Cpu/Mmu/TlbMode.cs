namespace Doppel.Machine.Cpu.Mmu;

/// <summary>For whom a table of the TLB answers; indexes <see cref="CpuState.TlbModes"/>. See <see cref="SoftTlb.SelectTable"/>.</summary>
public enum TlbMode
{
    /// <summary>CPL 3 without alignment checks.</summary>
    User,

    /// <summary>CPL 0 to 2 with CR4.SMAP set and RFLAGS.AC clear, and every implicit supervisor access under SMAP.</summary>
    SupervisorSmap,

    /// <summary>CPL 0 to 2 that may reach user pages.</summary>
    Supervisor,

    /// <summary>CPL 3 with CR0.AM and RFLAGS.AC: data accesses always take the slow path, which checks alignment.</summary>
    UserAligned,
}
