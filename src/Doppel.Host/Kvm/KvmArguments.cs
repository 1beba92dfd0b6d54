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

/// <summary>struct kvm_guest_debug: breakpoints that the guest doesn't see, in place of its own.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct KvmGuestDebug
{
    /// <summary>What is wanted; 0 for nothing.</summary>
    public uint Control;

    private uint _padding;

    /// <summary>DR0 to DR7 as the processor has them while the guest runs.</summary>
    public fixed ulong Registers[8];

    /// <summary>Bits of <see cref="Control"/>: anything at all; <see cref="Registers"/> count.</summary>
    public const uint Enable = 1;

    /// <summary>See <see cref="Enable"/>.</summary>
    public const uint UseRegisters = 0x20000;
}

/// <summary>struct kvm_stats_header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmStatisticsHeader
{
    internal uint Flags;
    internal uint NameSize;
    internal uint Count;
    internal uint IdOffset;
    internal uint DescriptorOffset;
    internal uint DataOffset;
}

/// <summary>struct kvm_stats_desc; its name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmStatisticsDescriptor
{
    internal uint Flags;
    internal short Exponent;
    internal ushort Size;
    internal uint Offset;
    internal uint BucketSize;
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

/// <summary>struct kvm_msi.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmMessage
{
    internal uint AddressLow;
    internal uint AddressHigh;
    internal uint Data;
    internal uint Flags;
    internal uint DeviceId;
    internal fixed byte Padding[12];
}

/// <summary>struct kvm_irq_routing_entry for a message, which is shorter than others.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmRoutingEntry
{
    internal uint Input;
    internal uint Type;
    internal uint Flags;
    internal uint Padding;
    internal uint AddressLow;
    internal uint AddressHigh;
    internal uint Data;
    internal uint DeviceId;
    internal fixed uint Rest[4];

    internal const uint MessageType = 2;
}
