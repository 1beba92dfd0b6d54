using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

/// <summary>struct kvm_userspace_memory_region.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMemoryRegion
{
    internal uint Slot;
    internal uint Flags;
    internal ulong GuestAddress;
    internal ulong Length;
    internal ulong HostAddress;

    internal const uint LogDirtyPages = 1;
    internal const uint ReadOnly = 2;
}

/// <summary>struct kvm_dirty_log.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDirtyLog
{
    internal uint Slot;
    internal uint Padding;
    internal void* Bitmap;
}

/// <summary>struct kvm_enable_cap.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmEnableCapability
{
    internal uint Capability;
    internal uint Flags;
    internal fixed ulong Arguments[4];
    internal fixed byte Padding[64];
}

/// <summary>struct kvm_msr_filter_range.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmMsrFilterRange
{
    internal uint Flags;
    internal uint Count;
    internal uint First;
    internal byte* Bitmap;

    internal const uint ReadAndWrite = 3;
}

/// <summary>struct kvm_msr_filter.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmMsrFilter
{
    internal uint Flags;
    internal uint Padding;
    internal fixed ulong Ranges[3 * MaximumRanges];

    internal const int MaximumRanges = 16;
    internal const uint DefaultDeny = 1;
}

/// <summary>struct kvm_device_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmAttribute
{
    internal uint Flags;
    internal uint Group;
    internal ulong Attribute;
    internal void* Address;
}

/// <summary>struct kvm_ioeventfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmIoEventFd
{
    internal ulong Value;
    internal ulong Address;
    internal uint Length;
    internal int Descriptor;
    internal uint Flags;
    internal fixed byte Padding[36];

    internal const uint MatchValue = 1;
    internal const uint Deassign = 4;
}
