namespace Doppel.Machine.Cpu.Debugging;

/// <summary>A register as a debugger names it.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Index">Which one of its kind.</param>
public readonly record struct CpuRegister(CpuRegisterKind Kind, int Index = 0)
{
    /// <summary>Bytes of its value.</summary>
    public int Size => Kind switch
    {
        CpuRegisterKind.X87 => 10,
        CpuRegisterKind.Xmm or CpuRegisterKind.YmmHigh => 16,
        CpuRegisterKind.Flags or CpuRegisterKind.Selector or CpuRegisterKind.X87Control or CpuRegisterKind.Mxcsr => 4,
        _ => 8,
    };
}
