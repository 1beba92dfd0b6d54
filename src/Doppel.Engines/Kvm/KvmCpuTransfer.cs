using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;

namespace Doppel.Engines.Kvm;

/// <summary>Moves the registers of a vCPU between <see cref="CpuState"/> and the kernel. Belongs to the vCPU's thread.</summary>
internal sealed unsafe class KvmCpuTransfer
{
    private const ulong Dr6Changing = 0xE00F;
    private const ulong Dr6Ones = 0xFFFF0FF0;
    private const ulong Dr7Changing = 0xFFFF2BFF;
    private const ulong Dr7Ones = 0x400;
    private readonly VirtualCpu _cpu;
    private readonly CpuState* _s;
    private readonly KvmVcpu _vcpu;
    private readonly MsrWord[] _msrs;

    internal KvmCpuTransfer(VirtualCpu cpu, KvmVcpu vcpu, bool keepsSpecCtrl)
    {
        _cpu = cpu;
        _s = cpu.State;
        _vcpu = vcpu;
        List<MsrWord> msrs =
        [
            new(MsrIndex.SysenterCs, &_s->SysenterCs), new(MsrIndex.SysenterEsp, &_s->SysenterEsp), new(MsrIndex.SysenterEip, &_s->SysenterEip),
            new(MsrIndex.Star, &_s->Star), new(MsrIndex.Lstar, &_s->Lstar), new(MsrIndex.Cstar, &_s->Cstar), new(MsrIndex.SyscallMask, &_s->SyscallMask),
            new(MsrIndex.KernelGsBase, &_s->KernelGsBase), new(MsrIndex.Pat, &_s->Pat),
        ];
        if (cpu.Model.Has(CpuFeature.Rdtscp) || cpu.Model.Has(CpuFeature.Rdpid))
            msrs.Add(new MsrWord(MsrIndex.TscAux, &_s->TscAux));
        if (keepsSpecCtrl)
            msrs.Add(new MsrWord(MsrIndex.SpecCtrl, &_s->SpecCtrl));
        _msrs = [.. msrs];
    }

    // The general registers in the order of struct kvm_regs, by their architectural numbers.
    private static ReadOnlySpan<byte> KernelOrder => [0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

    /// <summary>Gives the kernel all registers.</summary>
    internal void Load()
    {
        LoadSystemRegisters();
        if (_cpu.Model.Has(CpuFeature.Xsave))
            _vcpu.Xcr0 = _s->Xcr0;
        LoadExtendedState();
        LoadMsrs();
        var debug = new KvmDebugRegisters { Dr6 = _s->Dr[6], Dr7 = _s->Dr[7] };
        for (int i = 0; i < 4; i++)
            debug.Db[i] = _s->Dr[i];
        _vcpu.Set(in debug);
        LoadRegisters();
        var events = new KvmEvents { Flags = KvmEvents.ValidNmiPending | KvmEvents.ValidShadow };
        if ((_s->Shadow & InterruptShadow.Sti) != 0)
            events.InterruptShadow |= KvmEvents.ShadowSti;
        if ((_s->Shadow & InterruptShadow.MovSs) != 0)
            events.InterruptShadow |= KvmEvents.ShadowMovSs;
        events.NmiMasked = (_s->Shadow & InterruptShadow.NmiBlocked) != 0 ? (byte)1 : (byte)0;
        _vcpu.Set(in events);
    }

    /// <summary>Takes all registers from the kernel, which has nothing left to complete.</summary>
    /// <returns>What was being delivered, which the registers don't contain.</returns>
    internal KvmEvents Store()
    {
        // First: where an exception is pending, this makes the kernel set CR2 or DR6 for it.
        _vcpu.Get(out KvmEvents events);
        StoreRegisters();
        StoreSystemRegisters();
        if (_cpu.Model.Has(CpuFeature.Xsave))
            _s->Xcr0 = _vcpu.Xcr0;
        StoreExtendedState();
        StoreMsrs();
        _vcpu.Get(out KvmDebugRegisters debug);
        for (int i = 0; i < 4; i++)
            _s->Dr[i] = debug.Db[i];
        _s->Dr[6] = (debug.Dr6 & Dr6Changing) | Dr6Ones;
        _s->Dr[7] = (debug.Dr7 & Dr7Changing) | Dr7Ones;
        _s->Shadow = InterruptShadow.None;
        if ((events.InterruptShadow & KvmEvents.ShadowSti) != 0)
            _s->Shadow |= InterruptShadow.Sti;
        if ((events.InterruptShadow & KvmEvents.ShadowMovSs) != 0)
            _s->Shadow |= InterruptShadow.MovSs;
        if (events.NmiMasked != 0)
            _s->Shadow |= InterruptShadow.NmiBlocked;
        return events;
    }

    /// <summary>Makes the guest take an external interrupt next, for which it is ready, and wakes it for that.</summary>
    internal void Inject(byte vector)
    {
        _vcpu.Get(out KvmEvents events);
        events.Flags = 0;
        events.InterruptInjected = 1;
        events.InterruptNumber = vector;
        events.InterruptSoft = 0;
        _vcpu.Set(in events);
        if (_vcpu.Activity == KvmActivity.Halted)
            _vcpu.Activity = KvmActivity.Runnable;
    }

    private static KvmSegment ToKvm(in SegmentRegister register)
    {
        uint rights = (uint)register.Attributes;
        return new KvmSegment
        {
            Base = register.Base,
            Limit = register.Limit,
            Selector = register.Selector,
            Type = (byte)(rights & 15),
            S = (byte)((rights >> 4) & 1),
            Dpl = (byte)((rights >> 5) & 3),
            Present = (byte)((rights >> 7) & 1),
            Avl = (byte)((rights >> 12) & 1),
            L = (byte)((rights >> 13) & 1),
            Db = (byte)((rights >> 14) & 1),
            G = (byte)((rights >> 15) & 1),
            Unusable = (byte)((rights >> 16) & 1),
        };
    }

    private static SegmentRegister FromKvm(in KvmSegment segment)
    {
        uint rights = (uint)((segment.Type & 15) | ((segment.S & 1) << 4) | ((segment.Dpl & 3) << 5) | ((segment.Present & 1) << 7)
            | ((segment.Avl & 1) << 12) | ((segment.L & 1) << 13) | ((segment.Db & 1) << 14) | ((segment.G & 1) << 15) | ((segment.Unusable & 1) << 16));
        return new SegmentRegister { Base = segment.Base, Limit = segment.Limit, Selector = segment.Selector, Attributes = (SegmentAttributes)rights };
    }

    private void LoadRegisters()
    {
        var registers = new KvmRegisters { Rip = _s->Rip, Rflags = _s->Flags };
        ulong* general = &registers.Rax;
        foreach (byte number in KernelOrder)
            *general++ = _s->Gpr[number];
        _vcpu.Set(in registers);
    }

    private void StoreRegisters()
    {
        _vcpu.Get(out KvmRegisters registers);
        ulong* general = &registers.Rax;
        foreach (byte number in KernelOrder)
            _s->Gpr[number] = *general++;
        _s->Rip = registers.Rip;
        _s->Flags = registers.Rflags;
    }

    private void LoadSystemRegisters()
    {
        CpuState* s = _s;
        var system = new KvmSystemRegisters
        {
            Cs = ToKvm(s->Cs),
            Ds = ToKvm(s->Ds),
            Es = ToKvm(s->Es),
            Fs = ToKvm(s->Fs),
            Gs = ToKvm(s->Gs),
            Ss = ToKvm(s->Ss),
            Tr = ToKvm(s->Tr),
            Ldt = ToKvm(s->Ldtr),
            Gdt = new KvmTable { Base = s->Gdtr.Base, Limit = (ushort)s->Gdtr.Limit },
            Idt = new KvmTable { Base = s->Idtr.Base, Limit = (ushort)s->Idtr.Limit },
            Cr0 = s->Cr0,
            Cr2 = s->Cr2,
            Cr3 = s->Cr3,
            Cr4 = s->Cr4,
            Cr8 = _cpu.Apic.Cr8,
            Efer = s->Efer,
            ApicBase = _cpu.Apic.ApicBase,
        };
        // The kernel takes the privilege from SS; L counts in long mode only, where the kernel insists on it.
        system.Ss.Dpl = (byte)s->Cpl;
        if (!s->IsLongMode)
            system.Cs.L = 0;
        // Intel's processors enter a guest only with a busy TSS.
        system.Tr.Type |= 2;
        system.Tr.Unusable = 0;
        if ((s->Cr0 & Cr0.Pg) != 0 && (s->Cr4 & Cr4.Pae) != 0 && !s->IsLongMode)
        {
            system.Flags = KvmSystemRegisters.HasPdptrs;
            for (int i = 0; i < 4; i++)
                system.Pdptrs[i] = s->Pdpte[i];
        }

        _vcpu.Set(in system);
    }

    private void StoreSystemRegisters()
    {
        CpuState* s = _s;
        _vcpu.Get(out KvmSystemRegisters system);
        s->Cs = FromKvm(system.Cs);
        s->Ds = FromKvm(system.Ds);
        s->Es = FromKvm(system.Es);
        s->Fs = FromKvm(system.Fs);
        s->Gs = FromKvm(system.Gs);
        s->Ss = FromKvm(system.Ss);
        s->Tr = FromKvm(system.Tr);
        s->Ldtr = FromKvm(system.Ldt);
        s->Gdtr = new DescriptorTableRegister { Base = system.Gdt.Base, Limit = system.Gdt.Limit };
        s->Idtr = new DescriptorTableRegister { Base = system.Idt.Base, Limit = system.Idt.Limit };
        s->Cr0 = system.Cr0;
        s->Cr2 = system.Cr2;
        s->Cr3 = system.Cr3;
        s->Cr4 = system.Cr4;
        s->Efer = system.Efer;
        s->Cpl = (system.Cr0 & Cr0.Pe) == 0 ? 0 : (s->Flags & CpuFlags.Vm) != 0 ? 3 : system.Ss.Dpl & 3;
        if ((system.Flags & KvmSystemRegisters.HasPdptrs) == 0)
            return;
        for (int i = 0; i < 4; i++)
            s->Pdpte[i] = system.Pdptrs[i];
    }

    private void LoadExtendedState()
    {
        byte* area = stackalloc byte[KvmVcpu.XsaveSize];
        new Span<byte>(area, KvmVcpu.XsaveSize).Clear();
        ulong components = _cpu.Model.SupportedXcr0 | XsaveLayout.X87 | XsaveLayout.Sse;
        Buffer.MemoryCopy(_s->XsaveArea, area, KvmVcpu.XsaveSize, XsaveLayout.HeaderOffset);
        // MXCSR_MASK is the host's affair.
        *(uint*)(area + 28) = 0;
        *(ulong*)(area + XsaveLayout.HeaderOffset) = components;
        if ((components & XsaveLayout.Avx) != 0)
            Buffer.MemoryCopy(_s->XsaveArea + XsaveLayout.AvxOffset, area + XsaveLayout.AvxOffset, XsaveLayout.AvxSize, XsaveLayout.AvxSize);
        _vcpu.SetXsave(area);
    }

    private void StoreExtendedState()
    {
        const int MxcsrMaskOffset = 28;
        byte* area = stackalloc byte[KvmVcpu.XsaveSize];
        _vcpu.GetXsave(area);
        byte* own = _s->XsaveArea;
        uint mask = *(uint*)(own + MxcsrMaskOffset);
        Buffer.MemoryCopy(area, own, XsaveLayout.HeaderOffset, XsaveLayout.HeaderOffset - 96);
        *(uint*)(own + MxcsrMaskOffset) = mask;
        // Bit 6 of the control word is set in every processor; one that is emulated may forget it.
        *(ushort*)own |= 0x40;
        own[5] = 0;
        if ((_cpu.Model.SupportedXcr0 & XsaveLayout.Avx) == 0)
            return;
        ulong inUse = *(ulong*)(area + XsaveLayout.HeaderOffset);
        if ((inUse & XsaveLayout.Avx) != 0)
            Buffer.MemoryCopy(area + XsaveLayout.AvxOffset, own + XsaveLayout.AvxOffset, XsaveLayout.AvxSize, XsaveLayout.AvxSize);
        else
            new Span<byte>(own + XsaveLayout.AvxOffset, XsaveLayout.AvxSize).Clear();
    }

    private void LoadMsrs()
    {
        Span<KvmMsr> msrs = stackalloc KvmMsr[_msrs.Length];
        for (int i = 0; i < _msrs.Length; i++)
            msrs[i] = new KvmMsr { Index = _msrs[i].Index, Data = *_msrs[i].Word };
        int done = _vcpu.SetMsrs(msrs);
        if (done != _msrs.Length)
            throw new KvmException($"this host's KVM refuses MSR 0x{_msrs[done].Index:x} with the value 0x{msrs[done].Data:x}");
    }

    private void StoreMsrs()
    {
        Span<KvmMsr> msrs = stackalloc KvmMsr[_msrs.Length];
        for (int i = 0; i < _msrs.Length; i++)
            msrs[i] = new KvmMsr { Index = _msrs[i].Index };
        int done = _vcpu.GetMsrs(msrs);
        if (done != _msrs.Length)
            throw new KvmException($"this host's KVM can't read MSR 0x{_msrs[done].Index:x}");
        for (int i = 0; i < _msrs.Length; i++)
            *_msrs[i].Word = msrs[i].Data;
    }

    /// <summary>An MSR and its place in <see cref="CpuState"/>.</summary>
    private readonly struct MsrWord(uint index, ulong* word)
    {
        internal uint Index { get; } = index;

        internal ulong* Word { get; } = word;
    }
}
