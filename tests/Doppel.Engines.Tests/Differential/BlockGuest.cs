using Doppel.Engines.Translator;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// A vCPU in 64-bit mode at CPL 0 over identity-mapped RAM, on one engine. Four small pages are mapped on their own: the
/// second is absent, the fourth read-only. Every exception leads to a HLT on a stack of its own.
/// </summary>
internal sealed unsafe class BlockGuest : IDisposable
{
    internal const ulong Code = 8 << 20;
    internal const ulong Data = 4 << 20;
    internal const ulong SmallPages = 6 << 20;
    internal const ulong Stack = 5 << 20;
    internal const ulong FaultStack = 0x20000;
    internal const ulong FsBase = 0x1230;
    internal const ulong GsBase = unchecked((ulong)-0x2340);
    private const ulong RamSize = 16 << 20;
    private const ulong Tables = 0x1000, Gdt = 0x8000, Tss = 0x8800, Idt = 0x9000, Handlers = 0xA000;
    private readonly GuestMemory _memory = new(RamSize);

    internal BlockGuest(string engine, bool isDeterministic, CpuModel? model = null)
    {
        var ioLock = new Lock();
        var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
        Cpu = new VirtualCpu(0, model ?? CpuModels.Version3, physical, new IoBus("ports", 0x10000, ioLock), new TestClock(isDeterministic));
        WriteTables();
        Engine = engine == "translator" ? new TranslatorEngine(Cpu) { PromotionThreshold = 0 } : new Interpreter(Cpu);
        Snapshot = CpuSnapshot.Take(Cpu);
    }

    internal VirtualCpu Cpu { get; }

    internal CpuState* State => Cpu.State;

    internal IExecutionEngine Engine { get; }

    internal CpuSnapshot Snapshot { get; }

    internal GuestMemory Memory => _memory;

    /// <summary>Puts the vCPU at the start of code with everything but registers and memory as at first.</summary>
    internal void Start(ulong rip, bool flushTlb)
    {
        const SegmentAttributes Common = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable
            | SegmentAttributes.Accessed | SegmentAttributes.Granularity;
        CpuState* s = State;
        var data = new SegmentRegister { Selector = 0x10, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Big };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
        s->Fs.Base = FsBase;
        s->Gs.Base = GsBase;
        s->Cs = new SegmentRegister { Selector = 8, Limit = uint.MaxValue, Attributes = Common | SegmentAttributes.Code | SegmentAttributes.Long };
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0x3F };
        s->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0x1FF };
        s->Tr = new SegmentRegister { Selector = 0x18, Base = Tss, Limit = 0x67, Attributes = SegmentAttributes.Present | (SegmentAttributes)11 };
        s->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Wp | Cr0.Ne | Cr0.Mp | Cr0.Et;
        s->Cr2 = 0;
        s->Cr3 = Tables;
        s->Cr4 = Cr4.Pae | Cr4.Osfxsr | Cr4.Osxmmexcpt | Cr4.Osxsave;
        s->Xcr0 = 7;
        s->Efer = Efer.Lme | Efer.Lma;
        s->Flags = CpuFlags.Fixed;
        s->Cpl = 0;
        s->Rip = rip;
        s->Shadow = InterruptShadow.None;
        s->Activity = ActivityState.Running;
        s->InstructionsRetired = 0;
        if (flushTlb)
            Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    public void Dispose()
    {
        Engine.Dispose();
        Cpu.Dispose();
        _memory.Dispose();
    }

    private void WriteTables()
    {
        ulong* pml4 = (ulong*)(_memory.Base + Tables);
        ulong* pdpt = pml4 + 512;
        ulong* directory = pdpt + 512;
        ulong* table = directory + 512;
        pml4[0] = Tables + 0x1003;
        pdpt[0] = Tables + 0x2003;
        for (ulong i = 0; i < RamSize >> 21; i++)
            directory[i] = (i << 21) | 0xE3;
        directory[SmallPages >> 21] = Tables + 0x3003;
        for (ulong i = 0; i < 512; i++)
            table[i] = (SmallPages + (i << 12)) | 0x63;
        table[1] = 0;
        table[3] &= ~2UL;
        ulong* gdt = (ulong*)(_memory.Base + Gdt);
        gdt[1] = 0x00AF9B000000FFFF;
        gdt[2] = 0x00CF93000000FFFF;
        *(ulong*)(_memory.Base + Tss + 0x24) = FaultStack;
        for (uint vector = 0; vector < 32; vector++)
        {
            ulong handler = Handlers + (16 * vector);
            ulong* gate = (ulong*)(_memory.Base + Idt + (16 * vector));
            gate[0] = (handler & 0xFFFF) | (8UL << 16) | (1UL << 32) | (0x8EUL << 40);
            gate[1] = 0;
            _memory.Base[handler] = 0xF4;
        }

        *(ushort*)State->XsaveArea = 0x37F;
    }
}
