using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

#pragma warning disable CS1591 // The fields are those of struct kvm_run, by the names of the manual (Documentation/virt/kvm/api.rst, 5).

/// <summary>struct kvm_run: what a vCPU's thread and the kernel tell each other. The exits share their place.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x930)]
public unsafe struct KvmRun
{
    [FieldOffset(0)]
    public byte RequestInterruptWindow;

    [FieldOffset(1)]
    public byte ImmediateExit;

    [FieldOffset(8)]
    public KvmExit ExitReason;

    [FieldOffset(12)]
    public byte ReadyForInterruptInjection;

    [FieldOffset(13)]
    public byte InterruptFlag;

    [FieldOffset(16)]
    public ulong Cr8;

    [FieldOffset(24)]
    public ulong ApicBase;

    [FieldOffset(32)]
    public KvmIoExit Io;

    [FieldOffset(32)]
    public KvmMmioExit Mmio;

    [FieldOffset(32)]
    public KvmMsrExit Msr;

    [FieldOffset(32)]
    public KvmInternalError InternalError;

    [FieldOffset(32)]
    public KvmDebugExit Debug;

    [FieldOffset(32)]
    public ulong HardwareReason;

    /// <summary>The vector of an <see cref="KvmExit.EndOfInterrupt"/>.</summary>
    [FieldOffset(32)]
    public byte EndedVector;

    [FieldOffset(0x120)]
    public ulong ValidRegisters;

    [FieldOffset(0x128)]
    public ulong DirtyRegisters;

    [FieldOffset(0x130)]
    public KvmRegisters Registers;

    /// <summary>The bit of <see cref="ValidRegisters"/> for <see cref="Registers"/>.</summary>
    public const ulong HasRegisters = 1;
}

/// <summary>An access to ports; the data lie at an offset from the struct's start.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmIoExit
{
    public byte Direction;
    public byte Size;
    public ushort Port;
    public uint Count;
    public ulong DataOffset;

    /// <summary><see cref="Direction"/> of OUT.</summary>
    public const byte Out = 1;
}

/// <summary>An access to what is not memory.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmMmioExit
{
    public ulong Address;
    public fixed byte Data[8];
    public uint Length;
    public byte IsWrite;
}

/// <summary>RDMSR or WRMSR; a value other than zero in <see cref="Error"/> makes it raise #GP.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmMsrExit
{
    public byte Error;
    private byte _padding0;
    private ushort _padding1;
    private uint _padding2;
    public uint Reason;
    public uint Index;
    public ulong Data;

    /// <summary>Reasons to ask this process for: KVM refuses it, doesn't know it, or a filter denies it.</summary>
    public const ulong AllReasons = 7;
}

/// <summary>What <see cref="KvmGuestDebug"/> has found: the exception, where, and the debug registers.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmDebugExit
{
    public uint Exception;
    private uint _padding;
    public ulong Pc;
    public ulong Dr6;
    public ulong Dr7;
}

/// <summary>What KVM can't go on with.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmInternalError
{
    public uint Kind;
    public uint Count;
    public fixed ulong Data[16];

    /// <summary><see cref="Kind"/>: an instruction that KVM's emulator doesn't have.</summary>
    public const uint Emulation = 1;
}
