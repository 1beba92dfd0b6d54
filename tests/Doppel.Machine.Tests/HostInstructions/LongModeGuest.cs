using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.HostInstructions;

/// <summary>
/// A vCPU in 64-bit mode at CPL 0 over 16 MiB of identity-mapped RAM, with SSE and AVX on. The two megabytes at
/// <see cref="SmallPages"/> are mapped by 4 KiB pages, of which the second is absent and the fourth read-only.
/// </summary>
internal sealed unsafe class LongModeGuest : IDisposable
{
    internal const ulong RamSize = 16 << 20;
    internal const ulong SmallPages = 6 << 20;
    internal const ulong AbsentPage = SmallPages + 0x1000;
    internal const ulong ReadOnlyPage = SmallPages + 0x3000;

    private const ulong Tables = 0x1000;
    private readonly GuestMemory _memory = new(RamSize);

    internal LongModeGuest()
    {
        var ioLock = new Lock();
        var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
        Cpu = new VirtualCpu(0, CpuModels.Host, physical, new IoBus("ports", 0x10000, ioLock), new FixedClock());
        ulong* pml4 = (ulong*)(_memory.Base + Tables);
        ulong* pdpt = pml4 + 512;
        ulong* directory = pdpt + 512;
        ulong* table = directory + 512;
        pml4[0] = Tables + 0x1003;
        pdpt[0] = Tables + 0x2003;
        for (ulong i = 0; i < RamSize >> 21; i++)
            directory[i] = (i << 21) | 0x83;
        directory[SmallPages >> 21] = Tables + 0x3003;
        for (ulong i = 0; i < 512; i++)
            table[i] = (SmallPages + (i << 12)) | 3;
        table[1] = 0;
        table[3] &= ~2UL;
        State->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Wp | Cr0.Ne | Cr0.Mp | Cr0.Et;
        State->Cr3 = Tables;
        State->Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt | Cr4.Osxsave;
        State->Xcr0 = 7;
        State->Efer = Efer.Lme | Efer.Lma;
        State->Flags = CpuFlags.Fixed;
        const SegmentAttributes Common = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable
            | SegmentAttributes.Accessed | SegmentAttributes.Granularity;
        var data = new SegmentRegister { Selector = 0x18, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Big };
        State->Es = State->Ss = State->Ds = State->Fs = State->Gs = data;
        State->Cs = new SegmentRegister { Selector = 0x10, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Code | SegmentAttributes.Long };
        *(ushort*)State->XsaveArea = 0x37F;
        Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    internal VirtualCpu Cpu { get; }

    internal CpuState* State => Cpu.State;

    internal byte* Ram => _memory.Base;

    public void Dispose()
    {
        Cpu.Dispose();
        _memory.Dispose();
    }
}
