namespace Doppel.Machine.Cpu.Models;

/// <summary>
/// A feature that CPUID can announce and that the machine implements; where its bit lies and what it is called stands in
/// <see cref="CpuFeatureCatalog"/>. The values are an index and no part of any saved state.
/// </summary>
public enum CpuFeature
{
    /// <summary>X87 floating-point unit.</summary>
    Fpu,

    /// <summary>Virtual-8086 mode extensions.</summary>
    Vme,

    /// <summary>Debugging extensions: I/O breakpoints, DR4 and DR5 undefined.</summary>
    De,

    /// <summary>4 MiB pages.</summary>
    Pse,

    /// <summary>Time stamp counter.</summary>
    Tsc,

    /// <summary>RDMSR and WRMSR.</summary>
    Msr,

    /// <summary>Physical address extension.</summary>
    Pae,

    /// <summary>Machine check exception.</summary>
    Mce,

    /// <summary>CMPXCHG8B.</summary>
    Cx8,

    /// <summary>Local APIC; CPUID shows it while IA32_APIC_BASE enables it.</summary>
    Apic,

    /// <summary>SYSENTER and SYSEXIT.</summary>
    Sep,

    /// <summary>Memory type range registers.</summary>
    Mtrr,

    /// <summary>Global pages.</summary>
    Pge,

    /// <summary>Machine check architecture.</summary>
    Mca,

    /// <summary>CMOVcc, FCMOVcc and FCOMI.</summary>
    Cmov,

    /// <summary>Page attribute table.</summary>
    Pat,

    /// <summary>4 MiB pages at 40-bit addresses.</summary>
    Pse36,

    /// <summary>CLFLUSH.</summary>
    Clfsh,

    /// <summary>MMX.</summary>
    Mmx,

    /// <summary>FXSAVE and FXRSTOR.</summary>
    Fxsr,

    /// <summary>SSE.</summary>
    Sse,

    /// <summary>SSE2.</summary>
    Sse2,

    /// <summary>Caches stay coherent when the memory type changes.</summary>
    SelfSnoop,

    /// <summary>SSE3.</summary>
    Sse3,

    /// <summary>Carry-less multiplication.</summary>
    Pclmulqdq,

    /// <summary>SSSE3.</summary>
    Ssse3,

    /// <summary>Fused multiply and add.</summary>
    Fma,

    /// <summary>CMPXCHG16B.</summary>
    Cx16,

    /// <summary>Process-context identifiers.</summary>
    Pcid,

    /// <summary>SSE4.1.</summary>
    Sse41,

    /// <summary>SSE4.2.</summary>
    Sse42,

    /// <summary>X2APIC mode of the local APIC.</summary>
    X2Apic,

    /// <summary>MOVBE.</summary>
    Movbe,

    /// <summary>POPCNT.</summary>
    Popcnt,

    /// <summary>TSC-deadline mode of the local APIC's timer.</summary>
    TscDeadline,

    /// <summary>AES rounds.</summary>
    Aes,

    /// <summary>XSAVE, XRSTOR and XCR0.</summary>
    Xsave,

    /// <summary>AVX.</summary>
    Avx,

    /// <summary>Half-precision conversion.</summary>
    F16c,

    /// <summary>RDRAND, from the host's random numbers.</summary>
    Rdrand,

    /// <summary>The local APIC's timer never stops.</summary>
    Arat,

    /// <summary>RDFSBASE and its kin.</summary>
    Fsgsbase,

    /// <summary>IA32_TSC_ADJUST.</summary>
    TscAdjust,

    /// <summary>Bit manipulation, first set, with TZCNT.</summary>
    Bmi1,

    /// <summary>AVX2.</summary>
    Avx2,

    /// <summary>The x87 data pointer is updated by exceptions only.</summary>
    FdpExceptionOnly,

    /// <summary>Supervisor-mode execution prevention.</summary>
    Smep,

    /// <summary>Bit manipulation, second set.</summary>
    Bmi2,

    /// <summary>Fast REP MOVSB and REP STOSB.</summary>
    Erms,

    /// <summary>INVPCID.</summary>
    Invpcid,

    /// <summary>The x87 code and data selectors are saved as zero.</summary>
    ZeroFcsFds,

    /// <summary>RDSEED, from the host's random numbers.</summary>
    Rdseed,

    /// <summary>ADCX and ADOX.</summary>
    Adx,

    /// <summary>Supervisor-mode access prevention.</summary>
    Smap,

    /// <summary>CLFLUSHOPT.</summary>
    Clflushopt,

    /// <summary>CLWB.</summary>
    Clwb,

    /// <summary>SHA-1 and SHA-256 rounds.</summary>
    Sha,

    /// <summary>User-mode instruction prevention.</summary>
    Umip,

    /// <summary>Galois field arithmetic.</summary>
    Gfni,

    /// <summary>AES rounds on YMM.</summary>
    Vaes,

    /// <summary>carry-less multiplication on YMM.</summary>
    Vpclmulqdq,

    /// <summary>RDPID.</summary>
    Rdpid,

    /// <summary>Fast short REP MOVSB.</summary>
    Fsrm,

    /// <summary>IA32_SPEC_CTRL.IBRS and IA32_PRED_CMD.IBPB.</summary>
    SpecCtrl,

    /// <summary>IA32_ARCH_CAPABILITIES.</summary>
    ArchCapabilities,

    /// <summary>AVX dot products of integers.</summary>
    AvxVnni,

    /// <summary>XSAVEOPT.</summary>
    Xsaveopt,

    /// <summary>XSAVEC and compaction.</summary>
    Xsavec,

    /// <summary>XGETBV with ECX=1.</summary>
    Xgetbv1,

    /// <summary>XSAVES, XRSTORS and IA32_XSS.</summary>
    Xsaves,

    /// <summary>LAHF and SAHF in 64-bit mode.</summary>
    Lahf64,

    /// <summary>LZCNT.</summary>
    Lzcnt,

    /// <summary>PREFETCHW.</summary>
    Prefetchw,

    /// <summary>SYSCALL and SYSRET; CPUID shows it in 64-bit mode only.</summary>
    Syscall,

    /// <summary>No-execute pages.</summary>
    Nx,

    /// <summary>1 GiB pages.</summary>
    Pdpe1Gb,

    /// <summary>RDTSCP and IA32_TSC_AUX.</summary>
    Rdtscp,

    /// <summary>Long mode.</summary>
    Lm,

    /// <summary>The TSC's rate never changes and it never stops.</summary>
    InvariantTsc,
}
