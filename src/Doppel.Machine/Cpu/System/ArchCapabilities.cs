namespace Doppel.Machine.Cpu.System;

/// <summary>
/// IA32_ARCH_CAPABILITIES: which measures against speculation a guest can leave out (Intel SDM vol. 4, MSR 10Ah).
/// </summary>
/// <remarks>
/// <para>
/// The bits are true of emulated and translated code in the sense that matters to the guest: its own measure would not
/// change anything. Meltdown and L1TF read through the guest's page tables past a fault; here the hardware never sees the
/// guest's page tables. A guest access is a look-up in a software TLB that is separate for user and supervisor, and whose
/// user half holds no translation that user code may not use. To unmap the kernel in the guest's tables
/// (page-table isolation) removes nothing from it: hence RDCL_NO, and PSCHANGE_MC_NO, as no host translation comes from
/// the guest's tables.
/// </para>
/// <para>
/// MDS, TAA, RFDS, GDS, the MMIO stale data family and SSB leak what lies in the host core's buffers. The guest's measures
/// are VERW, microcode controls and SPEC_CTRL, all of which are emulated here and never reach the host's core; the host has to protect itself
/// and does so for every process alike. Branch predictors are trained by emitted code and by the engines' own branches,
/// not by guest addresses, so retpolines, software sequences that clear the branch history, and page-table dependent
/// predictor isolation miss their target: hence IBRS_ALL, BHI_NO, PBRSB_NO and ITS_NO, with RRSBA clear.
/// </para>
/// <para>
/// What stays true is that a guest's user code can try a Spectre attack on the VMM's process by speculating past a TLB
/// check. No guest setting prevents or helps it: untrusted user code next to secrets in one guest needs an engine with
/// hardware virtualization, which takes this register from its host instead.
/// </para>
/// </remarks>
public static class ArchCapabilities
{
    /// <summary>RDCL_NO: no rogue data cache load (Meltdown, L1TF).</summary>
    public const ulong RdclNo = 1 << 0;

    /// <summary>IBRS_ALL: IA32_SPEC_CTRL.IBRS may be left on; no retpolines.</summary>
    public const ulong IbrsAll = 1 << 1;

    /// <summary>SKIP_L1DFL_VMENTRY.</summary>
    public const ulong SkipL1dFlush = 1 << 3;

    /// <summary>SSB_NO: no speculative store bypass.</summary>
    public const ulong SsbNo = 1 << 4;

    /// <summary>MDS_NO: no microarchitectural data sampling.</summary>
    public const ulong MdsNo = 1 << 5;

    /// <summary>IF_PSCHANGE_MC_NO: no machine check on a page size change during a fetch.</summary>
    public const ulong PschangeMcNo = 1 << 6;

    /// <summary>TAA_NO: no TSX asynchronous abort (there is no TSX).</summary>
    public const ulong TaaNo = 1 << 8;

    /// <summary>SBDR_SSDP_NO, FBSDP_NO and PSDP_NO: no processor MMIO stale data.</summary>
    public const ulong MmioStaleDataNo = 7 << 13;

    /// <summary>BHI_NO: no branch history injection.</summary>
    public const ulong BhiNo = 1 << 20;

    /// <summary>PBRSB_NO: no post-barrier return stack speculation.</summary>
    public const ulong PbrsbNo = 1 << 24;

    /// <summary>GDS_NO: no gather data sampling.</summary>
    public const ulong GdsNo = 1 << 26;

    /// <summary>RFDS_NO: no register file data sampling.</summary>
    public const ulong RfdsNo = 1 << 27;

    /// <summary>ITS_NO: no indirect target selection.</summary>
    public const ulong ItsNo = 1UL << 62;

    /// <summary>What the MSR reads as.</summary>
    public const ulong Value =
        RdclNo | IbrsAll | SkipL1dFlush | SsbNo | MdsNo | PschangeMcNo | TaaNo | MmioStaleDataNo | BhiNo | PbrsbNo | GdsNo | RfdsNo | ItsNo;
}
