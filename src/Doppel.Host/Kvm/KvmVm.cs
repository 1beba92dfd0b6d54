using System.Runtime.InteropServices;

namespace Doppel.Host.Kvm;

/// <summary>A VM of the kernel's. Any thread; its vCPUs are disposed of before it.</summary>
public sealed unsafe class KvmVm : IDisposable
{
    private const int MostFilteredMsrs = 0x600 * 8;
    internal const int NobodyMeant = 1;
    private readonly KvmHandle _handle;
    private readonly int _runSize;

    internal KvmVm(KvmHandle handle, int runSize)
    {
        _handle = handle;
        _runSize = runSize;
    }

    /// <summary>Shows memory of this process to the guest; a length of 0 takes it away.</summary>
    /// <param name="slot">A number of the caller's.</param>
    /// <param name="guestAddress">Guest-physical address; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <param name="memory">The memory, which stays mapped as long as it is shown.</param>
    /// <param name="isReadOnly">True when a write is an access to what is not memory.</param>
    /// <param name="logsWrites">True to keep a log for <see cref="GetDirtyLog"/>.</param>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void SetMemory(int slot, ulong guestAddress, ulong length, byte* memory, bool isReadOnly, bool logsWrites)
    {
        var region = new KvmMemoryRegion
        {
            Slot = (uint)slot,
            Flags = (isReadOnly ? KvmMemoryRegion.ReadOnly : 0) | (logsWrites ? KvmMemoryRegion.LogDirtyPages : 0),
            GuestAddress = guestAddress,
            Length = length,
            HostAddress = (ulong)memory,
        };
        _ = _handle.Call(KvmRequest.SetMemoryRegion, &region, $"KVM_SET_USER_MEMORY_REGION of {length} bytes at 0x{guestAddress:x}");
    }

    /// <summary>Takes the log of the pages that the guest has written since the last call.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="bitmap">One bit a page, in whole words of 64.</param>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void GetDirtyLog(int slot, Span<ulong> bitmap)
    {
        fixed (ulong* bits = bitmap)
        {
            var log = new KvmDirtyLog { Slot = (uint)slot, Bitmap = bits };
            _ = _handle.Call(KvmRequest.GetDirtyLog, &log, $"KVM_GET_DIRTY_LOG of slot {slot}");
        }
    }

    /// <summary>Switches something on.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void Enable(KvmCapability capability, ulong argument)
    {
        var enable = new KvmEnableCapability { Capability = (uint)capability };
        enable.Arguments[0] = argument;
        _ = _handle.Call(KvmRequest.EnableCapability, &enable, $"KVM_ENABLE_CAP {capability}");
    }

    /// <summary>Leaves some MSRs to the kernel and has all others answered by this process. The x2APIC's are not concerned.</summary>
    /// <param name="ranges">At most 16 ranges; in each, which MSRs from the first one on the kernel keeps.</param>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void KeepMsrs(params ReadOnlySpan<(uint First, bool[] Kept)> ranges)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ranges.Length, KvmMsrFilter.MaximumRanges);
        var filter = new KvmMsrFilter { Flags = KvmMsrFilter.DefaultDeny };
        byte* bitmaps = stackalloc byte[KvmMsrFilter.MaximumRanges * (MostFilteredMsrs / 8)];
        for (int i = 0; i < ranges.Length; i++)
        {
            byte* bitmap = bitmaps + (i * (MostFilteredMsrs / 8));
            (uint first, bool[] kept) = ranges[i];
            ArgumentOutOfRangeException.ThrowIfGreaterThan(kept.Length, MostFilteredMsrs);
            for (int bit = 0; bit < kept.Length; bit++)
            {
                if (kept[bit])
                    bitmap[bit >> 3] |= (byte)(1 << (bit & 7));
            }

            ((KvmMsrFilterRange*)filter.Ranges)[i] = new KvmMsrFilterRange
            {
                Flags = KvmMsrFilterRange.ReadAndWrite,
                Count = (uint)kept.Length,
                First = first,
                Bitmap = bitmap,
            };
        }

        _ = _handle.Call(KvmRequest.SetMsrFilter, &filter, "KVM_X86_SET_MSR_FILTER");
    }

    /// <summary>Gives the kernel three pages for the task state of Intel's real mode, where no memory of the guest's is.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void SetTssAddress(ulong address) => _ = _handle.Call(KvmRequest.SetTssAddress, (nuint)address, $"KVM_SET_TSS_ADDR 0x{address:x}");

    /// <summary>Gives the kernel a page for the page table of Intel's real mode, where no memory of the guest's is.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void SetIdentityMapAddress(ulong address) => _ = _handle.Call(KvmRequest.SetIdentityMapAddress, &address, $"KVM_SET_IDENTITY_MAP_ADDR 0x{address:x}");

    /// <summary>Makes writes to an address end at an eventfd, or no longer.</summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes of the access: 1, 2, 4 or 8; 0 for any.</param>
    /// <param name="value">Only writes of this value; null for all.</param>
    /// <param name="descriptor">The eventfd.</param>
    /// <param name="isAssigned">False to end it.</param>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void SetIoEvent(ulong address, int length, ulong? value, int descriptor, bool isAssigned)
    {
        var request = new KvmIoEventFd
        {
            Value = value ?? 0,
            Address = address,
            Length = (uint)length,
            Descriptor = descriptor,
            Flags = (value is null ? 0 : KvmIoEventFd.MatchValue) | (isAssigned ? 0 : KvmIoEventFd.Deassign),
        };
        _ = _handle.Call(KvmRequest.IoEventFd, &request, $"KVM_IOEVENTFD at 0x{address:x}");
    }

    /// <summary>Sends a message-signalled interrupt to the local APICs in the kernel.</summary>
    /// <param name="address">FEEx_xxxxh, with the destination.</param>
    /// <param name="data">Vector and delivery mode.</param>
    /// <returns>False when no local APIC has taken it.</returns>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public bool SignalMessage(ulong address, uint data)
    {
        var message = new KvmMessage { AddressLow = (uint)address, AddressHigh = (uint)(address >> 32), Data = data };
        int taken = KvmCalls.Control(_handle.Descriptor, KvmRequest.SignalMessage, &message);
        // The kernel's "nobody is meant" comes out as the errno of that number.
        if (taken < 0 && Marshal.GetLastPInvokeError() != NobodyMeant)
            HostError.Throw("ioctl", $"KVM_SIGNAL_MSI of 0x{data:x} to 0x{address:x}");
        return taken > 0;
    }

    /// <summary>Says what messages the inputs of an IOAPIC in this process send, from the first one on; each takes the place of what was said before.</summary>
    /// <remarks>The kernel tells of the end of a level-triggered interrupt if an input sends it.</remarks>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public void SetRouting(ReadOnlySpan<(ulong Address, uint Data)> messages)
    {
        byte[] buffer = new byte[8 + (messages.Length * sizeof(KvmRoutingEntry))];
        fixed (byte* p = buffer)
        {
            *(uint*)p = (uint)messages.Length;
            var entries = (KvmRoutingEntry*)(p + 8);
            for (int i = 0; i < messages.Length; i++)
            {
                (ulong address, uint data) = messages[i];
                entries[i] = new KvmRoutingEntry { Input = (uint)i, Type = KvmRoutingEntry.MessageType, AddressLow = (uint)address, AddressHigh = (uint)(address >> 32), Data = data };
            }

            _ = _handle.Call(KvmRequest.SetRouting, p, $"KVM_SET_GSI_ROUTING with {messages.Length} entries");
        }
    }

    /// <summary>Opens the counts that the kernel keeps of the VM; needs <see cref="KvmCapability.StatisticsFile"/>.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public KvmStatisticsFile OpenStatistics() => new(new KvmHandle(_handle.Call(KvmRequest.GetStatisticsFile, (nuint)0, "KVM_GET_STATS_FD")));

    /// <summary>Makes a vCPU.</summary>
    /// <param name="id">Its number and APIC id.</param>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public KvmVcpu CreateVcpu(int id)
    {
        int descriptor = _handle.Call(KvmRequest.CreateVcpu, (nuint)id, $"KVM_CREATE_VCPU {id}");
        return new KvmVcpu(new KvmHandle(descriptor), _runSize);
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
