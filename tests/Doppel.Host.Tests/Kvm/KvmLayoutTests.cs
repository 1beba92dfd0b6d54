using System.Reflection;
using System.Runtime.InteropServices;
using Doppel.Host.Kvm;

namespace Doppel.Host.Tests.Kvm;

/// <summary>What is mirrored of linux/kvm.h and asm/kvm.h, by the C compiler's word.</summary>
public sealed unsafe class KvmLayoutTests
{
    [Fact]
    public void Requests_are_those_of_the_C_header() => Check(
    [
        ("KVM_GET_API_VERSION", KvmRequest.GetApiVersion), ("KVM_CREATE_VM", KvmRequest.CreateVm), ("KVM_CHECK_EXTENSION", KvmRequest.CheckExtension),
        ("KVM_GET_VCPU_MMAP_SIZE", KvmRequest.GetRunSize), ("KVM_GET_SUPPORTED_CPUID", KvmRequest.GetSupportedCpuid), ("KVM_CREATE_VCPU", KvmRequest.CreateVcpu),
        ("KVM_GET_DIRTY_LOG", KvmRequest.GetDirtyLog), ("KVM_SET_USER_MEMORY_REGION", KvmRequest.SetMemoryRegion), ("KVM_SET_TSS_ADDR", KvmRequest.SetTssAddress),
        ("KVM_SET_IDENTITY_MAP_ADDR", KvmRequest.SetIdentityMapAddress), ("KVM_IOEVENTFD", KvmRequest.IoEventFd), ("KVM_ENABLE_CAP", KvmRequest.EnableCapability),
        ("KVM_X86_SET_MSR_FILTER", KvmRequest.SetMsrFilter), ("KVM_RUN", KvmRequest.Run), ("KVM_GET_REGS", KvmRequest.GetRegisters), ("KVM_SET_REGS", KvmRequest.SetRegisters),
        ("KVM_INTERRUPT", KvmRequest.Interrupt), ("KVM_GET_MSRS", KvmRequest.GetMsrs), ("KVM_SET_MSRS", KvmRequest.SetMsrs), ("KVM_SET_CPUID2", KvmRequest.SetCpuid),
        ("KVM_NMI", KvmRequest.Nmi), ("KVM_SET_GUEST_DEBUG", KvmRequest.SetGuestDebug), ("KVM_GET_STATS_FD", KvmRequest.GetStatisticsFile), ("KVM_GET_VCPU_EVENTS", KvmRequest.GetEvents), ("KVM_SET_VCPU_EVENTS", KvmRequest.SetEvents),
        ("KVM_GET_DEBUGREGS", KvmRequest.GetDebugRegisters), ("KVM_SET_DEBUGREGS", KvmRequest.SetDebugRegisters),
        ("KVM_SET_TSC_KHZ", KvmRequest.SetTscKilohertz), ("KVM_GET_TSC_KHZ", KvmRequest.GetTscKilohertz), ("KVM_GET_XSAVE", KvmRequest.GetXsave), ("KVM_SET_XSAVE", KvmRequest.SetXsave),
        ("KVM_GET_XCRS", KvmRequest.GetXcrs), ("KVM_SET_XCRS", KvmRequest.SetXcrs), ("KVM_GET_SREGS2", KvmRequest.GetSystemRegisters), ("KVM_SET_SREGS2", KvmRequest.SetSystemRegisters),
        ("KVM_SET_DEVICE_ATTR", KvmRequest.SetAttribute), ("KVM_GET_DEVICE_ATTR", KvmRequest.GetAttribute), ("KVM_HAS_DEVICE_ATTR", KvmRequest.HasAttribute),
        ("KVM_GET_LAPIC", KvmRequest.GetLocalApic), ("KVM_SET_LAPIC", KvmRequest.SetLocalApic), ("KVM_GET_MP_STATE", KvmRequest.GetMultiprocessingState), ("KVM_SET_MP_STATE", KvmRequest.SetMultiprocessingState),
        ("KVM_SIGNAL_MSI", KvmRequest.SignalMessage), ("KVM_SET_GSI_ROUTING", KvmRequest.SetRouting),
    ]);

    [Fact]
    public void Constants_are_those_of_the_C_headers() => Check(
    [
        ("KVM_API_VERSION", KvmDevice.ApiVersion),
        ("KVM_CAP_USER_MEMORY", (long)KvmCapability.UserMemory), ("KVM_CAP_SET_TSS_ADDR", (long)KvmCapability.SetTssAddress), ("KVM_CAP_EXT_CPUID", (long)KvmCapability.ExtendedCpuid),
        ("KVM_CAP_USER_NMI", (long)KvmCapability.UserNmi), ("KVM_CAP_IOEVENTFD", (long)KvmCapability.IoEventFd), ("KVM_CAP_SET_IDENTITY_MAP_ADDR", (long)KvmCapability.SetIdentityMapAddress),
        ("KVM_CAP_VCPU_EVENTS", (long)KvmCapability.VcpuEvents), ("KVM_CAP_DEBUGREGS", (long)KvmCapability.DebugRegisters), ("KVM_CAP_XSAVE", (long)KvmCapability.Xsave),
        ("KVM_CAP_XCRS", (long)KvmCapability.Xcrs), ("KVM_CAP_TSC_CONTROL", (long)KvmCapability.TscControl), ("KVM_CAP_GET_TSC_KHZ", (long)KvmCapability.GetTscKilohertz),
        ("KVM_CAP_MAX_VCPUS", (long)KvmCapability.MaximumVcpus), ("KVM_CAP_SYNC_REGS", (long)KvmCapability.SynchronizedRegisters), ("KVM_CAP_READONLY_MEM", (long)KvmCapability.ReadOnlyMemory),
        ("KVM_CAP_IMMEDIATE_EXIT", (long)KvmCapability.ImmediateExit), ("KVM_CAP_X86_USER_SPACE_MSR", (long)KvmCapability.UserSpaceMsr), ("KVM_CAP_X86_MSR_FILTER", (long)KvmCapability.MsrFilter),
        ("KVM_CAP_SREGS2", (long)KvmCapability.SystemRegisters2), ("KVM_CAP_SET_GUEST_DEBUG", (long)KvmCapability.SetGuestDebug), ("KVM_CAP_BINARY_STATS_FD", (long)KvmCapability.StatisticsFile),
        ("KVM_GUESTDBG_ENABLE", KvmGuestDebug.Enable), ("KVM_GUESTDBG_USE_HW_BP", KvmGuestDebug.UseRegisters),
        ("KVM_EXIT_UNKNOWN", (long)KvmExit.Unknown), ("KVM_EXIT_IO", (long)KvmExit.Io), ("KVM_EXIT_DEBUG", (long)KvmExit.Debug), ("KVM_EXIT_HLT", (long)KvmExit.Halt),
        ("KVM_EXIT_MMIO", (long)KvmExit.Mmio), ("KVM_EXIT_IRQ_WINDOW_OPEN", (long)KvmExit.InterruptWindow), ("KVM_EXIT_SHUTDOWN", (long)KvmExit.Shutdown),
        ("KVM_EXIT_FAIL_ENTRY", (long)KvmExit.FailEntry), ("KVM_EXIT_INTR", (long)KvmExit.Signal), ("KVM_EXIT_SET_TPR", (long)KvmExit.TaskPriority),
        ("KVM_EXIT_INTERNAL_ERROR", (long)KvmExit.InternalError), ("KVM_EXIT_X86_RDMSR", (long)KvmExit.ReadMsr), ("KVM_EXIT_X86_WRMSR", (long)KvmExit.WriteMsr),
        ("KVM_EXIT_IO_OUT", KvmIoExit.Out), ("KVM_INTERNAL_ERROR_EMULATION", KvmInternalError.Emulation), ("KVM_SYNC_X86_REGS", (long)KvmRun.HasRegisters),
        ("KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER", (long)KvmMsrExit.AllReasons),
        ("KVM_SREGS2_FLAGS_PDPTRS_VALID", (long)KvmSystemRegisters.HasPdptrs), ("KVM_VCPUEVENT_VALID_NMI_PENDING", KvmEvents.ValidNmiPending), ("KVM_VCPUEVENT_VALID_SHADOW", KvmEvents.ValidShadow),
        ("KVM_X86_SHADOW_INT_MOV_SS", KvmEvents.ShadowMovSs), ("KVM_X86_SHADOW_INT_STI", KvmEvents.ShadowSti), ("KVM_CPUID_FLAG_SIGNIFCANT_INDEX", KvmCpuidEntry.HasIndex),
        ("KVM_MEM_LOG_DIRTY_PAGES", KvmMemoryRegion.LogDirtyPages), ("KVM_MEM_READONLY", KvmMemoryRegion.ReadOnly),
        ("KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE", KvmMsrFilterRange.ReadAndWrite), ("KVM_MSR_FILTER_DEFAULT_DENY", KvmMsrFilter.DefaultDeny), ("KVM_MSR_FILTER_MAX_RANGES", KvmMsrFilter.MaximumRanges),
        ("KVM_IOEVENTFD_FLAG_DATAMATCH", KvmIoEventFd.MatchValue), ("KVM_IOEVENTFD_FLAG_DEASSIGN", KvmIoEventFd.Deassign),
        ("KVM_VCPU_TSC_CTRL", 0), ("KVM_VCPU_TSC_OFFSET", 0), ("sizeof(struct kvm_xsave) >= 4096 && offsetof(struct kvm_xsave, extra) == 4096", KvmVcpu.XsaveSize / 4096),
        ("KVM_CAP_MP_STATE", (long)KvmCapability.MultiprocessingState), ("KVM_CAP_IRQ_ROUTING", (long)KvmCapability.InterruptRouting), ("KVM_CAP_TSC_DEADLINE_TIMER", (long)KvmCapability.TscDeadlineTimer),
        ("KVM_CAP_VCPU_ATTRIBUTES", (long)KvmCapability.VcpuAttributes), ("KVM_CAP_SIGNAL_MSI", (long)KvmCapability.SignalMessage), ("KVM_CAP_SPLIT_IRQCHIP", (long)KvmCapability.SplitInterruptController), ("KVM_EXIT_IOAPIC_EOI", (long)KvmExit.EndOfInterrupt),
        ("KVM_MP_STATE_RUNNABLE", (long)KvmActivity.Runnable), ("KVM_MP_STATE_UNINITIALIZED", (long)KvmActivity.Uninitialized), ("KVM_MP_STATE_INIT_RECEIVED", (long)KvmActivity.InitReceived),
        ("KVM_MP_STATE_HALTED", (long)KvmActivity.Halted), ("KVM_MP_STATE_SIPI_RECEIVED", (long)KvmActivity.StartUpReceived), ("KVM_IRQ_ROUTING_MSI", KvmRoutingEntry.MessageType),
        ("sizeof(struct kvm_lapic_state)", KvmVcpu.LocalApicSize), ("EPERM", KvmVm.NobodyMeant),
        ("EINTR", Doppel.Host.Events.EventFlags.Interrupted), ("EAGAIN", KvmVcpu.TryAgain),
    ]);

    [Fact]
    public void Layouts_are_those_of_the_C_headers() => Check(
    [
        ("sizeof(struct kvm_run)", sizeof(KvmRun)),
        .. Named<KvmRun>("kvm_run", ("request_interrupt_window", "RequestInterruptWindow"), ("immediate_exit", "ImmediateExit"), ("exit_reason", "ExitReason"), ("ready_for_interrupt_injection", "ReadyForInterruptInjection"), ("if_flag", "InterruptFlag"), ("cr8", "Cr8"), ("apic_base", "ApicBase"), ("io", "Io"), ("mmio", "Mmio"), ("msr", "Msr"), ("internal", "InternalError"), ("debug", "Debug"), ("hw", "HardwareReason"), ("eoi.vector", "EndedVector"), ("kvm_valid_regs", "ValidRegisters"), ("kvm_dirty_regs", "DirtyRegisters"), ("s.regs.regs", "Registers")),
        .. Within<KvmIoExit>("io", "direction size port count data_offset"),
        .. Within<KvmMmioExit>("mmio", "phys_addr data len is_write"),
        ("offsetof(struct kvm_run, msr.error) - offsetof(struct kvm_run, msr)", Marshal.OffsetOf<KvmMsrExit>("Error")), ("offsetof(struct kvm_run, msr.reason) - offsetof(struct kvm_run, msr)", Marshal.OffsetOf<KvmMsrExit>("Reason")),
        ("offsetof(struct kvm_run, msr.index) - offsetof(struct kvm_run, msr)", Marshal.OffsetOf<KvmMsrExit>("Index")), ("offsetof(struct kvm_run, msr.data) - offsetof(struct kvm_run, msr)", Marshal.OffsetOf<KvmMsrExit>("Data")),
        .. Within<KvmInternalError>("internal", "suberror ndata data"),
        .. Within<KvmDebugExit>("debug.arch", "exception pad pc dr6 dr7"),
        ("sizeof(struct kvm_guest_debug)", sizeof(KvmGuestDebug)), ("offsetof(struct kvm_guest_debug, arch.debugreg)", Marshal.OffsetOf<KvmGuestDebug>("Registers")),
        .. Whole<KvmStatisticsHeader>("kvm_stats_header", "flags name_size num_desc id_offset desc_offset data_offset"),
        // The C structure ends with the name, of no length.
        ("offsetof(struct kvm_stats_desc, name)", sizeof(KvmStatisticsDescriptor)), ("offsetof(struct kvm_stats_desc, offset)", Marshal.OffsetOf<KvmStatisticsDescriptor>("Offset")),
        .. Whole<KvmRegisters>("kvm_regs", "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"),
        .. Whole<KvmSegment>("kvm_segment", "base limit selector type present dpl db s l g avl unusable padding"),
        .. Whole<KvmTable>("kvm_dtable", "base limit padding"),
        .. Whole<KvmSystemRegisters>("kvm_sregs2", "cs ds es fs gs ss tr ldt gdt idt cr0 cr2 cr3 cr4 cr8 efer apic_base flags pdptrs"),
        .. Whole<KvmDebugRegisters>("kvm_debugregs", "db dr6 dr7 flags reserved"),
        .. Whole<KvmEvents>("kvm_vcpu_events", "exception.injected exception.nr exception.has_error_code exception.pending exception.error_code interrupt.injected interrupt.nr interrupt.soft interrupt.shadow nmi.injected nmi.pending nmi.masked nmi.pad sipi_vector flags smi triple_fault reserved exception_has_payload exception_payload"),
        .. Whole<KvmXcrs>("kvm_xcrs", "nr_xcrs flags xcrs padding"),
        ("offsetof(struct kvm_xcrs, xcrs[0].value) - offsetof(struct kvm_xcrs, xcrs)", sizeof(ulong)),
        .. Whole<KvmMsr>("kvm_msr_entry", "index reserved data"),
        .. Whole<KvmCpuidEntry>("kvm_cpuid_entry2", "function index flags eax ebx ecx edx padding"),
        ("offsetof(struct kvm_msrs, entries)", 8), ("offsetof(struct kvm_cpuid2, entries)", 8),
        .. Whole<KvmMemoryRegion>("kvm_userspace_memory_region", "slot flags guest_phys_addr memory_size userspace_addr"),
        .. Whole<KvmDirtyLog>("kvm_dirty_log", "slot padding1 dirty_bitmap"),
        .. Whole<KvmEnableCapability>("kvm_enable_cap", "cap flags args pad"),
        .. Whole<KvmMsrFilterRange>("kvm_msr_filter_range", "flags nmsrs base bitmap"),
        ("sizeof(struct kvm_msr_filter)", sizeof(KvmMsrFilter)), ("offsetof(struct kvm_msr_filter, ranges)", Marshal.OffsetOf<KvmMsrFilter>("Ranges")), ("sizeof(struct kvm_msr_filter_range)", 3 * sizeof(ulong)),
        .. Whole<KvmAttribute>("kvm_device_attr", "flags group attr addr"),
        .. Whole<KvmIoEventFd>("kvm_ioeventfd", "datamatch addr len fd flags pad"),
        .. Whole<KvmMessage>("kvm_msi", "address_lo address_hi data flags devid pad"),
        .. Whole<KvmRoutingEntry>("kvm_irq_routing_entry", "gsi type flags pad u.msi.address_lo u.msi.address_hi u.msi.data u.msi.devid u.pad[4]"), ("offsetof(struct kvm_irq_routing, entries)", 8),
        ("sizeof(struct kvm_mp_state)", sizeof(KvmActivity)),
        ("sizeof(struct kvm_interrupt)", sizeof(uint)),
    ]);

    private static void Check((string C, long Ours)[] values)
    {
        long[] theirs = CProgram.Evaluate(["linux/kvm.h", "errno.h"], [.. values.Select(value => value.C)]);
        Assert.Equal(values.Select(value => $"{value.C} = {value.Ours}"), values.Zip(theirs, (value, c) => $"{value.C} = {c}"));
    }

    // The kernel looks at 32 bits of a request.
    private static void Check((string C, nuint Ours)[] values) => Check([.. values.Select(value => ($"(unsigned)({value.C})", (long)(uint)value.Ours))]);

    private static IEnumerable<(string C, long Ours)> Named<T>(string type, params (string C, string Ours)[] names) =>
        names.Select(name => ($"offsetof(struct {type}, {name.C})", (long)Marshal.OffsetOf<T>(name.Ours)));

    // The fields are declared in the header's order.
    private static IEnumerable<(string C, long Ours)> Whole<T>(string type, string names) =>
        Zip<T>(names).Select(pair => ($"offsetof(struct {type}, {pair.C})", pair.Ours)).Prepend(($"sizeof(struct {type})", Marshal.SizeOf<T>()));

    private static IEnumerable<(string C, long Ours)> Within<T>(string part, string names) =>
        Zip<T>(names).Select(pair => ($"offsetof(struct kvm_run, {part}.{pair.C}) - offsetof(struct kvm_run, {part})", pair.Ours));

    private static IEnumerable<(string C, long Ours)> Zip<T>(string names)
    {
        string[] ours = [.. typeof(T).GetFields(BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.Public).Select(field => field.Name)];
        string[] theirs = names.Split(' ');
        Assert.Equal(theirs.Length, ours.Length);
        return theirs.Zip(ours, (c, name) => (c, (long)Marshal.OffsetOf<T>(name)));
    }
}
