using System.Runtime.InteropServices;
using Doppel.Host.Memory;

namespace Doppel.Host.Kvm;

/// <summary>A vCPU of the kernel's. Belongs to one thread at a time.</summary>
public sealed unsafe class KvmVcpu : IDisposable
{
    /// <summary>Bytes of the extended state (struct kvm_xsave), in the standard format of the host's XSAVE.</summary>
    public const int XsaveSize = 4096;

    /// <summary>Bytes of a local APIC's registers (struct kvm_lapic_state): the first 1 KiB of its page.</summary>
    public const int LocalApicSize = 1024;

    private const uint TscGroup = 0;
    private const ulong TscOffsetAttribute = 0;
    internal const int TryAgain = 11;
    private readonly KvmHandle _handle;
    private readonly int _runSize;
    private nint _run;

    internal KvmVcpu(KvmHandle handle, int runSize)
    {
        _handle = handle;
        _runSize = runSize;
        try
        {
            _run = HostError.Check(
                LibC.MMap(0, (nuint)runSize, MemoryProtection.Read | MemoryProtection.Write, MapFlags.Shared, handle.Descriptor, 0),
                "mmap",
                $"of {runSize} bytes of a vCPU");
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>What this thread and the kernel tell each other.</summary>
    public KvmRun* State => (KvmRun*)_run;

    /// <summary>Lets the guest run until it needs something of this process.</summary>
    /// <returns>False when a signal or <see cref="KvmRun.ImmediateExit"/> has ended it, whatever <see cref="KvmRun.ExitReason"/> says.</returns>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public bool Run()
    {
        if (KvmCalls.Control(_handle.Descriptor, KvmRequest.Run, (nuint)0) >= 0)
            return true;
        if (Marshal.GetLastPInvokeError() is not (Events.EventFlags.Interrupted or TryAgain))
            HostError.Throw("ioctl", "KVM_RUN");
        return false;
    }

    /// <summary>Reads the general registers.</summary>
    /// <exception cref="HostException">The kernel refuses; so for all that follow.</exception>
    public void Get(out KvmRegisters value) => value = Get<KvmRegisters>(KvmRequest.GetRegisters, "KVM_GET_REGS");

    /// <summary>Sets them.</summary>
    public void Set(in KvmRegisters value) => Set(KvmRequest.SetRegisters, in value, "KVM_SET_REGS");

    /// <summary>Reads the system registers.</summary>
    public void Get(out KvmSystemRegisters value) => value = Get<KvmSystemRegisters>(KvmRequest.GetSystemRegisters, "KVM_GET_SREGS2");

    /// <summary>Sets them.</summary>
    public void Set(in KvmSystemRegisters value) => Set(KvmRequest.SetSystemRegisters, in value, "KVM_SET_SREGS2");

    /// <summary>Reads the debug registers.</summary>
    public void Get(out KvmDebugRegisters value) => value = Get<KvmDebugRegisters>(KvmRequest.GetDebugRegisters, "KVM_GET_DEBUGREGS");

    /// <summary>Sets them.</summary>
    public void Set(in KvmDebugRegisters value) => Set(KvmRequest.SetDebugRegisters, in value, "KVM_SET_DEBUGREGS");

    /// <summary>Sets breakpoints that the guest doesn't see, or none.</summary>
    public void Set(in KvmGuestDebug value) => Set(KvmRequest.SetGuestDebug, in value, "KVM_SET_GUEST_DEBUG");

    /// <summary>Reads what is pending.</summary>
    public void Get(out KvmEvents value) => value = Get<KvmEvents>(KvmRequest.GetEvents, "KVM_GET_VCPU_EVENTS");

    /// <summary>Sets it.</summary>
    public void Set(in KvmEvents value) => Set(KvmRequest.SetEvents, in value, "KVM_SET_VCPU_EVENTS");

    /// <summary>Reads the extended state: <see cref="XsaveSize"/> bytes.</summary>
    public void GetXsave(byte* area) => _ = _handle.Call(KvmRequest.GetXsave, area, "KVM_GET_XSAVE");

    /// <summary>Sets it.</summary>
    public void SetXsave(byte* area) => _ = _handle.Call(KvmRequest.SetXsave, area, "KVM_SET_XSAVE");

    /// <summary>Reads the registers of the local APIC that the kernel has: <see cref="LocalApicSize"/> bytes.</summary>
    public void GetLocalApic(byte* registers) => _ = _handle.Call(KvmRequest.GetLocalApic, registers, "KVM_GET_LAPIC");

    /// <summary>Sets them.</summary>
    public void SetLocalApic(byte* registers) => _ = _handle.Call(KvmRequest.SetLocalApic, registers, "KVM_SET_LAPIC");

    /// <summary>What the vCPU is doing, where the kernel has its local APIC. To read it lets an INIT or start-up that is pending take effect.</summary>
    public KvmActivity Activity
    {
        get => Get<KvmActivity>(KvmRequest.GetMultiprocessingState, "KVM_GET_MP_STATE");
        set => Set(KvmRequest.SetMultiprocessingState, in value, $"KVM_SET_MP_STATE {value}");
    }

    /// <summary>XCR0.</summary>
    public ulong Xcr0
    {
        get
        {
            KvmXcrs xcrs = Get<KvmXcrs>(KvmRequest.GetXcrs, "KVM_GET_XCRS");
            return xcrs.Count == 0 ? 1 : xcrs.Entries[1];
        }

        set
        {
            var xcrs = new KvmXcrs { Count = 1 };
            xcrs.Entries[1] = value;
            Set(KvmRequest.SetXcrs, in xcrs, $"KVM_SET_XCRS 0x{value:x}");
        }
    }

    /// <summary>Reads MSRs, whose numbers are given.</summary>
    /// <returns>How many could be read, from the first on.</returns>
    public int GetMsrs(Span<KvmMsr> msrs) => CallWithMsrs(KvmRequest.GetMsrs, msrs, "KVM_GET_MSRS");

    /// <summary>Sets MSRs.</summary>
    /// <returns>How many could be set, from the first on.</returns>
    public int SetMsrs(Span<KvmMsr> msrs) => CallWithMsrs(KvmRequest.SetMsrs, msrs, "KVM_SET_MSRS");

    /// <summary>Says what CPUID answers.</summary>
    public void SetCpuid(ReadOnlySpan<KvmCpuidEntry> entries)
    {
        byte[] buffer = new byte[8 + (entries.Length * sizeof(KvmCpuidEntry))];
        fixed (byte* p = buffer)
        {
            *(uint*)p = (uint)entries.Length;
            entries.CopyTo(new Span<KvmCpuidEntry>(p + 8, entries.Length));
            _ = _handle.Call(KvmRequest.SetCpuid, p, $"KVM_SET_CPUID2 with {entries.Length} entries");
        }
    }

    /// <summary>The rate of the guest's TSC in kHz. Setting another than the host's needs <see cref="KvmCapability.TscControl"/>.</summary>
    public int TscKilohertz
    {
        get => _handle.Call(KvmRequest.GetTscKilohertz, (nuint)0, "KVM_GET_TSC_KHZ");
        set => _ = _handle.Call(KvmRequest.SetTscKilohertz, (nuint)value, $"KVM_SET_TSC_KHZ {value}");
    }

    /// <summary>True when <see cref="TscOffset"/> can be used (Linux 5.16).</summary>
    public bool HasTscOffset
    {
        get
        {
            var attribute = new KvmAttribute { Group = TscGroup, Attribute = TscOffsetAttribute };
            return KvmCalls.Control(_handle.Descriptor, KvmRequest.HasAttribute, &attribute) == 0;
        }
    }

    /// <summary>What the kernel adds to the host's TSC, scaled to the guest's rate, to give the guest's.</summary>
    public ulong TscOffset
    {
        get
        {
            ulong value;
            var attribute = new KvmAttribute { Group = TscGroup, Attribute = TscOffsetAttribute, Address = &value };
            _ = _handle.Call(KvmRequest.GetAttribute, &attribute, "KVM_GET_DEVICE_ATTR of the TSC offset");
            return value;
        }

        set
        {
            var attribute = new KvmAttribute { Group = TscGroup, Attribute = TscOffsetAttribute, Address = &value };
            _ = _handle.Call(KvmRequest.SetAttribute, &attribute, "KVM_SET_DEVICE_ATTR of the TSC offset");
        }
    }

    /// <summary>Opens the counts that the kernel keeps of the vCPU; needs <see cref="KvmCapability.StatisticsFile"/>.</summary>
    /// <exception cref="HostException">The kernel refuses.</exception>
    public KvmStatisticsFile OpenStatistics() => new(new KvmHandle(_handle.Call(KvmRequest.GetStatisticsFile, (nuint)0, "KVM_GET_STATS_FD")));

    /// <summary>Queues an external interrupt. The guest must be ready for it.</summary>
    /// <param name="vector">0 to 255.</param>
    public void Interrupt(byte vector)
    {
        uint number = vector;
        _ = _handle.Call(KvmRequest.Interrupt, &number, $"KVM_INTERRUPT {vector}");
    }

    /// <summary>Queues an NMI, which the kernel delivers when the guest takes NMIs.</summary>
    public void Nmi() => _ = _handle.Call(KvmRequest.Nmi, (nuint)0, "KVM_NMI");

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_run == 0)
            return;
        _ = LibC.MUnmap(_run, (nuint)_runSize);
        _run = 0;
        _handle.Dispose();
    }

    private T Get<T>(nuint request, string name)
        where T : unmanaged
    {
        T value;
        _ = _handle.Call(request, &value, name);
        return value;
    }

    private void Set<T>(nuint request, in T value, string name)
        where T : unmanaged
    {
        fixed (T* p = &value)
            _ = _handle.Call(request, p, name);
    }

    private int CallWithMsrs(nuint request, Span<KvmMsr> msrs, string name)
    {
        byte* buffer = stackalloc byte[8 + (msrs.Length * sizeof(KvmMsr))];
        *(ulong*)buffer = (uint)msrs.Length;
        var copy = new Span<KvmMsr>(buffer + 8, msrs.Length);
        msrs.CopyTo(copy);
        int done = _handle.Call(request, buffer, name);
        copy.CopyTo(msrs);
        return done;
    }
}
