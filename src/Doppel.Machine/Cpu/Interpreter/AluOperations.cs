using System.Runtime.CompilerServices;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>A two-operand arithmetic or logical operation that sets all status flags.</summary>
internal unsafe interface IAluOperation
{
    /// <summary>False for CMP and TEST.</summary>
    static abstract bool Writes { get; }

    static abstract ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize;
}

/// <summary>The flags of sums, differences and logical results.</summary>
internal static unsafe class AluFlags
{
    /// <summary>Sets ZF, SF and PF from a result, and CF, AF and OF from the vector of carries out of each bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void SetArithmetic<TSize>(CpuState* s, ulong result, ulong carries)
        where TSize : struct, IOperandSize
    {
        SetResult<TSize>(s, result);
        ulong carry = (carries >> (TSize.Bits - 1)) & 1;
        ulong overflow = ((carries ^ (carries << 1)) >> (TSize.Bits - 1)) & 1;
        s->FlagCarryOverflow = carry | ((carries & 8) << 1) | (overflow << 11);
    }

    /// <summary>Sets ZF, SF and PF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void SetResult<TSize>(CpuState* s, ulong result)
        where TSize : struct, IOperandSize
    {
        s->FlagZero = result;
        s->FlagSignParity = TSize.Extend(result);
    }
}

internal readonly unsafe struct AddOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = (a + b) & TSize.Mask;
        AluFlags.SetArithmetic<TSize>(s, r, (a & b) | ((a | b) & ~r));
        return r;
    }
}

internal readonly unsafe struct AdcOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = (a + b + (s->FlagCarryOverflow & 1)) & TSize.Mask;
        AluFlags.SetArithmetic<TSize>(s, r, (a & b) | ((a | b) & ~r));
        return r;
    }
}

internal readonly unsafe struct SubOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = (a - b) & TSize.Mask;
        AluFlags.SetArithmetic<TSize>(s, r, (~a & b) | ((~a | b) & r));
        return r;
    }
}

internal readonly unsafe struct SbbOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = (a - b - (s->FlagCarryOverflow & 1)) & TSize.Mask;
        AluFlags.SetArithmetic<TSize>(s, r, (~a & b) | ((~a | b) & r));
        return r;
    }
}

internal readonly unsafe struct CmpOperation : IAluOperation
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize => SubOperation.Compute<TSize>(s, a, b);
}

internal readonly unsafe struct AndOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = a & b;
        AluFlags.SetResult<TSize>(s, r);
        s->FlagCarryOverflow = 0;
        return r;
    }
}

internal readonly unsafe struct TestOperation : IAluOperation
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize => AndOperation.Compute<TSize>(s, a, b);
}

internal readonly unsafe struct OrOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = a | b;
        AluFlags.SetResult<TSize>(s, r);
        s->FlagCarryOverflow = 0;
        return r;
    }
}

internal readonly unsafe struct XorOperation : IAluOperation
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Compute<TSize>(CpuState* s, ulong a, ulong b)
        where TSize : struct, IOperandSize
    {
        ulong r = a ^ b;
        AluFlags.SetResult<TSize>(s, r);
        s->FlagCarryOverflow = 0;
        return r;
    }
}
