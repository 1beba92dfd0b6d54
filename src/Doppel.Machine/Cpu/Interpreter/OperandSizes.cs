using System.Runtime.CompilerServices;

namespace Doppel.Machine.Cpu.Interpreter;

/// <summary>
/// The width of an operand as a type, so that the JIT makes one specialised handler for each width. Values travel as
/// zero-extended 64-bit numbers.
/// </summary>
internal unsafe interface IOperandSize
{
    static abstract int Bytes { get; }

    static abstract int Bits { get; }

    static abstract ulong Mask { get; }

    static abstract ulong Load(void* p);

    /// <summary>Writes memory: exactly the operand's bytes.</summary>
    static abstract void Store(void* p, ulong value);

    /// <summary>Writes a register: a 32-bit result clears the upper half.</summary>
    static abstract void StoreRegister(void* p, ulong value);

    /// <summary>Sign-extends to 64 bits.</summary>
    static abstract ulong Extend(ulong value);

    /// <summary>Compare-and-exchange on host memory; returns what was there.</summary>
    static abstract ulong CompareExchange(void* p, ulong value, ulong expected);
}

internal readonly unsafe struct Size8 : IOperandSize
{
    public static int Bytes => 1;

    public static int Bits => 8;

    public static ulong Mask => 0xFF;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load(void* p) => *(byte*)p;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* p, ulong value) => *(byte*)p = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreRegister(void* p, ulong value) => *(byte*)p = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend(ulong value) => (ulong)(sbyte)value;

    public static ulong CompareExchange(void* p, ulong value, ulong expected) =>
        Interlocked.CompareExchange(ref *(byte*)p, (byte)value, (byte)expected);
}

internal readonly unsafe struct Size16 : IOperandSize
{
    public static int Bytes => 2;

    public static int Bits => 16;

    public static ulong Mask => 0xFFFF;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load(void* p) => Unsafe.ReadUnaligned<ushort>(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* p, ulong value) => Unsafe.WriteUnaligned(p, (ushort)value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreRegister(void* p, ulong value) => Unsafe.WriteUnaligned(p, (ushort)value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend(ulong value) => (ulong)(short)value;

    public static ulong CompareExchange(void* p, ulong value, ulong expected) =>
        Interlocked.CompareExchange(ref *(ushort*)p, (ushort)value, (ushort)expected);
}

internal readonly unsafe struct Size32 : IOperandSize
{
    public static int Bytes => 4;

    public static int Bits => 32;

    public static ulong Mask => 0xFFFFFFFF;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load(void* p) => Unsafe.ReadUnaligned<uint>(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* p, ulong value) => Unsafe.WriteUnaligned(p, (uint)value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreRegister(void* p, ulong value) => Unsafe.WriteUnaligned(p, (ulong)(uint)value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend(ulong value) => (ulong)(int)value;

    public static ulong CompareExchange(void* p, ulong value, ulong expected) =>
        Interlocked.CompareExchange(ref *(uint*)p, (uint)value, (uint)expected);
}

internal readonly unsafe struct Size64 : IOperandSize
{
    public static int Bytes => 8;

    public static int Bits => 64;

    public static ulong Mask => ulong.MaxValue;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Load(void* p) => Unsafe.ReadUnaligned<ulong>(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* p, ulong value) => Unsafe.WriteUnaligned(p, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreRegister(void* p, ulong value) => Unsafe.WriteUnaligned(p, value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend(ulong value) => value;

    public static ulong CompareExchange(void* p, ulong value, ulong expected) =>
        Interlocked.CompareExchange(ref *(ulong*)p, value, expected);
}
