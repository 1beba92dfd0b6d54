using System.Numerics;
using System.Runtime.CompilerServices;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>One of the sixteen conditions of Jcc, SETcc and CMOVcc, as a type.</summary>
internal unsafe interface ICondition
{
    static abstract bool Holds(CpuState* s);
}

internal readonly unsafe struct Overflow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => (s->FlagCarryOverflow & CpuFlags.Of) != 0;
}

internal readonly unsafe struct Below : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => (s->FlagCarryOverflow & CpuFlags.Cf) != 0;
}

internal readonly unsafe struct Equal : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => s->FlagZero == 0;
}

internal readonly unsafe struct BelowOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => s->FlagZero == 0 || (s->FlagCarryOverflow & CpuFlags.Cf) != 0;
}

internal readonly unsafe struct Sign : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => (long)s->FlagSignParity < 0;
}

internal readonly unsafe struct Parity : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => (BitOperations.PopCount(s->FlagSignParity & 0xFF) & 1) == 0;
}

internal readonly unsafe struct Less : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => (long)(s->FlagSignParity ^ (s->FlagCarryOverflow << 52)) < 0;
}

internal readonly unsafe struct LessOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => s->FlagZero == 0 || Less.Holds(s);
}

/// <summary>The opposite of a condition.</summary>
internal readonly unsafe struct Not<TCondition> : ICondition
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Holds(CpuState* s) => !TCondition.Holds(s);
}
