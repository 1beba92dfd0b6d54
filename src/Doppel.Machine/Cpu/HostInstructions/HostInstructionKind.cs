namespace Doppel.Machine.Cpu.HostInstructions;

/// <summary>How the executor carries an instruction out.</summary>
public enum HostInstructionKind : byte
{
    /// <summary>By a stub; no memory operand.</summary>
    Stub,

    /// <summary>By a stub that reads its memory operand.</summary>
    StubLoad,

    /// <summary>By a stub that writes its memory operand.</summary>
    StubStore,

    /// <summary>By a stub around which the x87 state is loaded and saved (x87 and MMX).</summary>
    X87,

    /// <summary>The same with a memory operand to read.</summary>
    X87Load,

    /// <summary>The same with a memory operand to write.</summary>
    X87Store,

    /// <summary>A 16-byte move between vector registers.</summary>
    Move128,

    /// <summary>A 16-byte load.</summary>
    Load128,

    /// <summary>A 16-byte store.</summary>
    Store128,

    /// <summary>A 32-byte move between vector registers.</summary>
    Move256,

    /// <summary>A 32-byte load.</summary>
    Load256,

    /// <summary>A 32-byte store.</summary>
    Store256,

    /// <summary>Loads 8 bytes and zeroes the rest of the register.</summary>
    Load64,

    /// <summary>Loads 4 bytes and zeroes the rest of the register.</summary>
    Load32,

    /// <summary>Stores the low 8 bytes of a vector register.</summary>
    Store64,

    /// <summary>Stores the low 4 bytes of a vector register.</summary>
    Store32,

    /// <summary>Zeroes a vector register (an exclusive or with itself).</summary>
    Zero,

    /// <summary>MOVNTI, 4 or 8 bytes.</summary>
    StoreGpr,

    /// <summary>Prefetches and hints.</summary>
    NoOperation,

    /// <summary>MFENCE, LFENCE, SFENCE.</summary>
    Fence,

    /// <summary>CLFLUSH, CLFLUSHOPT, CLWB: the byte must be readable.</summary>
    CacheLine,

    /// <summary>LDMXCSR.</summary>
    LoadMxcsr,

    /// <summary>STMXCSR.</summary>
    StoreMxcsr,

    /// <summary>VZEROUPPER.</summary>
    ZeroUpper,

    /// <summary>VZEROALL.</summary>
    ZeroAll,

    /// <summary>MASKMOVQ and MASKMOVDQU.</summary>
    MaskedBytes,

    /// <summary>VMASKMOVPS and its like, from memory.</summary>
    MaskedLoad,

    /// <summary>VMASKMOVPS and its like, to memory.</summary>
    MaskedStore,

    /// <summary>VGATHERDPS and its like.</summary>
    Gather,

    /// <summary>FNSTCW.</summary>
    StoreControlWord,

    /// <summary>FLDCW.</summary>
    LoadControlWord,

    /// <summary>FNSTSW to memory.</summary>
    StoreStatusWord,

    /// <summary>FNSTSW AX.</summary>
    StatusWordToAx,

    /// <summary>FNINIT.</summary>
    InitializeX87,

    /// <summary>FNCLEX.</summary>
    ClearExceptions,

    /// <summary>WAIT.</summary>
    Wait,

    /// <summary>FNSTENV.</summary>
    StoreEnvironment,

    /// <summary>FLDENV.</summary>
    LoadEnvironment,

    /// <summary>FNSAVE.</summary>
    SaveX87,

    /// <summary>FRSTOR.</summary>
    RestoreX87,

    /// <summary>EMMS.</summary>
    EmptyMmx,

    /// <summary>FENI, FDISI, FSETPM: of earlier coprocessors, without effect.</summary>
    LegacyX87,
}
