namespace Doppel.Machine.Cpu;

/// <summary>
/// The memory of a vCPU: <see cref="CpuState"/>, then what emitted code reaches by a constant distance from it.
/// </summary>
public static unsafe class CpuStateBlock
{
    /// <summary>One byte for each page of code whose addresses are cached (see <see cref="Mmu.CodeTags"/>): 4,096 of the lower half, 4,096 of the upper.</summary>
    public static readonly int CodePagesOffset = (sizeof(CpuState) + 4095) & ~4095;

    /// <summary>Memory of the engine that runs the vCPU; zero at first.</summary>
    public static readonly int EngineAreaOffset = CodePagesOffset + 8192;

    /// <summary>Bytes at <see cref="EngineAreaOffset"/>.</summary>
    public const int EngineAreaBytes = 128 << 10;

    /// <summary>All of it.</summary>
    public static readonly int Bytes = EngineAreaOffset + EngineAreaBytes;
}
