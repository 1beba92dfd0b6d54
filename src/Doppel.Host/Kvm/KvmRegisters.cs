using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

#pragma warning disable CS1591 // The fields are those of the C structures, by the manual's names.

/// <summary>struct kvm_regs.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmRegisters
{
    public ulong Rax;
    public ulong Rbx;
    public ulong Rcx;
    public ulong Rdx;
    public ulong Rsi;
    public ulong Rdi;
    public ulong Rsp;
    public ulong Rbp;
    public ulong R8;
    public ulong R9;
    public ulong R10;
    public ulong R11;
    public ulong R12;
    public ulong R13;
    public ulong R14;
    public ulong R15;
    public ulong Rip;
    public ulong Rflags;
}

/// <summary>struct kvm_segment.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmSegment
{
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public byte Type;
    public byte Present;
    public byte Dpl;
    public byte Db;
    public byte S;
    public byte L;
    public byte G;
    public byte Avl;
    public byte Unusable;
    public byte Padding;
}

/// <summary>struct kvm_dtable.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmTable
{
    public ulong Base;
    public ushort Limit;
    public fixed ushort Padding[3];
}

/// <summary>struct kvm_sregs2.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmSystemRegisters
{
    public KvmSegment Cs;
    public KvmSegment Ds;
    public KvmSegment Es;
    public KvmSegment Fs;
    public KvmSegment Gs;
    public KvmSegment Ss;
    public KvmSegment Tr;
    public KvmSegment Ldt;
    public KvmTable Gdt;
    public KvmTable Idt;
    public ulong Cr0;
    public ulong Cr2;
    public ulong Cr3;
    public ulong Cr4;
    public ulong Cr8;
    public ulong Efer;
    public ulong ApicBase;
    public ulong Flags;
    public fixed ulong Pdptrs[4];

    /// <summary>The bit of <see cref="Flags"/> that says that <see cref="Pdptrs"/> count.</summary>
    public const ulong HasPdptrs = 1;
}

/// <summary>struct kvm_debugregs.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmDebugRegisters
{
    public fixed ulong Db[4];
    public ulong Dr6;
    public ulong Dr7;
    public ulong Flags;
    public fixed ulong Reserved[9];
}

/// <summary>struct kvm_vcpu_events.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmEvents
{
    public byte ExceptionInjected;
    public byte ExceptionNumber;
    public byte ExceptionHasErrorCode;
    public byte ExceptionPending;
    public uint ExceptionErrorCode;
    public byte InterruptInjected;
    public byte InterruptNumber;
    public byte InterruptSoft;
    public byte InterruptShadow;
    public byte NmiInjected;
    public byte NmiPending;
    public byte NmiMasked;
    public byte NmiPadding;
    public uint SipiVector;
    public uint Flags;
    public fixed byte Smi[4];
    public byte TripleFaultPending;
    public fixed byte Reserved[26];
    public byte ExceptionHasPayload;
    public ulong ExceptionPayload;

    /// <summary>Bits of <see cref="Flags"/>: <see cref="NmiPending"/> and <see cref="InterruptShadow"/> count.</summary>
    public const uint ValidNmiPending = 1;
    public const uint ValidShadow = 4;

    /// <summary>Bits of <see cref="InterruptShadow"/>.</summary>
    public const byte ShadowMovSs = 1;
    public const byte ShadowSti = 2;
}

/// <summary>struct kvm_xcrs.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmXcrs
{
    public uint Count;
    public uint Flags;
    public fixed ulong Entries[32];
    public fixed ulong Padding[16];
}

/// <summary>struct kvm_msr_entry.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KvmMsr
{
    public uint Index;
    public uint Reserved;
    public ulong Data;
}

/// <summary>struct kvm_cpuid_entry2.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmCpuidEntry
{
    public uint Function;
    public uint Index;
    public uint Flags;
    public uint Eax;
    public uint Ebx;
    public uint Ecx;
    public uint Edx;
    public fixed uint Padding[3];

    /// <summary>The bit of <see cref="Flags"/> that says that <see cref="Index"/> counts.</summary>
    public const uint HasIndex = 1;
}
