using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu;

/// <summary>
/// The memory of a vCPU: room for a stack, <see cref="CpuState"/>, then what emitted code reaches by a constant distance
/// from it. The stack grows down from the state: an engine may let its stack pointer be the state's address, and a signal's
/// frame then lies below.
/// </summary>
public static unsafe class CpuStateBlock
{
    /// <summary>One byte for each page of code whose addresses are cached (see <see cref="Mmu.CodeTags"/>): 4,096 of the lower half, 4,096 of the upper.</summary>
    public static readonly int CodePagesOffset = (sizeof(CpuState) + 4095) & ~4095;

    /// <summary>Memory of the engine that runs the vCPU; zero at first.</summary>
    public static readonly int EngineAreaOffset = CodePagesOffset + 8192;

    /// <summary>Bytes at <see cref="EngineAreaOffset"/>.</summary>
    public const int EngineAreaBytes = 128 << 10;

    /// <summary>Bytes before the state.</summary>
    public const int StackBytes = 256 << 10;

    /// <summary>From the state on.</summary>
    public static readonly int Bytes = EngineAreaOffset + EngineAreaBytes;

    internal static CpuState* Allocate()
    {
        var block = (byte*)NativeMemory.AlignedAlloc((nuint)(StackBytes + Bytes), 4096);
        var state = (CpuState*)(block + StackBytes);
        NativeMemory.Clear(state, (nuint)Bytes);
        return state;
    }

    internal static void Free(CpuState* state) => NativeMemory.AlignedFree((byte*)state - StackBytes);
}
