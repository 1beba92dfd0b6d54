using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.System;

/// <summary>A vCPU after reset, with a fake local APIC and clock, over 16 MiB of RAM.</summary>
internal sealed unsafe class TestCpu : IDisposable
{
    internal const ulong RamSize = 16 << 20;

    internal TestCpu(CpuModel? model = null, int index = 0, int tlbSpaces = TlbSlot.MaximumCount)
    {
        var ioLock = new Lock();
        Memory = new GuestMemory(RamSize);
        Mmio = new IoBus("mmio", ulong.MaxValue, ioLock);
        Physical = new PhysicalAddressSpace(Memory, Mmio);
        Cpu = new VirtualCpu(index, model ?? CpuModels.Version3, Physical, new IoBus("port", 0x10000, ioLock), Clock, tlbSpaces) { Apic = Apic };
    }

    internal VirtualCpu Cpu { get; }

    internal GuestMemory Memory { get; }

    internal IoBus Mmio { get; }

    internal PhysicalAddressSpace Physical { get; }

    internal FakeApic Apic { get; } = new();

    internal ManualClock Clock { get; } = new();

    internal CpuState* State => Cpu.State;

    internal byte* Ram => Memory.Base;

    /// <summary>Protected mode without paging at a privilege level.</summary>
    internal TestCpu InProtectedMode(int cpl = 0)
    {
        State->Cr0 = Cr0.Pe | Cr0.Et | Cr0.Ne | Cr0.Wp;
        State->Cs.Attributes |= SegmentAttributes.Big;
        SetCpl(cpl);
        return this;
    }

    /// <summary>64-bit mode with an identity map of the RAM in 2 MiB pages that every privilege may use; its tables lie from 1000h.</summary>
    internal TestCpu InLongMode(int cpl = 0)
    {
        *(ulong*)(Ram + 0x1000) = 0x2007;
        *(ulong*)(Ram + 0x2000) = 0x3007;
        for (ulong i = 0; i < RamSize >> 21; i++)
            *(ulong*)(Ram + 0x3000 + (8 * i)) = (i << 21) | 0x87;
        State->Cr3 = 0x1000;
        State->Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt;
        State->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Et | Cr0.Ne | Cr0.Wp;
        State->Efer = Efer.Lme | Efer.Lma | Efer.Nxe | Efer.Sce;
        State->Cs.Attributes |= SegmentAttributes.Long;
        Cpu.Tlb.FlushAll();
        SetCpl(cpl);
        return this;
    }

    internal void SetCpl(int cpl)
    {
        State->Cpl = cpl;
        Cpu.ModeChanged();
    }

    public void Dispose()
    {
        Cpu.Dispose();
        Memory.Dispose();
    }
}
