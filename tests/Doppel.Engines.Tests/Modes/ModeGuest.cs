using Doppel.Engines.Tests.Differential;
using Doppel.Engines.Translator;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Tests.Modes;

/// <summary>A vCPU in one of <see cref="ModeSetup"/>, on one engine. Every exception and interrupt leads to a HLT.</summary>
internal sealed unsafe class ModeGuest : IDisposable
{
    internal const int RamSize = 1 << 20;
    internal const uint FsBase = 0x31230;
    internal const uint GsBase = 0x2FFF0;
    internal const uint HandlerStack = 0x9F000;
    /// <summary>Selectors of data segments for programs: flat, small, with a base, of privilege 3, not accessed, read-only, expand-down, absent.</summary>
    internal const int FirstSelector = 0x50;

    internal const int SelectorCount = 8;

    // Beyond what programs reach by 16-bit addresses in flat segments: a write there could make faults that never end.
    internal const uint Gdt = 0x11000;
    private const uint Idt = 0x12000, LongIdt = 0x13000, Tss = 0x14000, LongTss = 0x14800, Handlers = 0x15000;
    private const uint Directory = 0x18000, Table = 0x19000, Root = 0x1A000, LongTable = 0x1D000;
    private readonly GuestMemory _memory = new(RamSize);

    internal ModeGuest(string engine, bool isDeterministic)
    {
        var ioLock = new Lock();
        var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
        Cpu = new VirtualCpu(0, CpuModels.Version3, physical, new IoBus("ports", 0x10000, ioLock), new TestClock(isDeterministic));
        WriteTables();
        Engine = engine == "translator" ? new TranslatorEngine(Cpu) { PromotionThreshold = 0 } : new Interpreter(Cpu);
        Snapshot = CpuSnapshot.Take(Cpu);
        *(ushort*)State->XsaveArea = 0x37F;
    }

    internal VirtualCpu Cpu { get; }

    internal CpuState* State => Cpu.State;

    internal IExecutionEngine Engine { get; }

    internal CpuSnapshot Snapshot { get; }

    internal GuestMemory Memory => _memory;

    /// <summary>Puts the vCPU into a mode at a linear address of code.</summary>
    internal void Start(ModeSetup setup, uint linear)
    {
        CpuState* s = State;
        bool isReal = setup.Kind == ModeKind.Real, isLong = setup.Kind == ModeKind.Compatibility, isVirtual = setup.Kind == ModeKind.Virtual8086;
        s->Cr0 = Cr0.Ne | Cr0.Mp | Cr0.Et | (isReal ? 0 : Cr0.Pe | Cr0.Pg | Cr0.Wp);
        s->Cr3 = isLong ? Root : Directory;
        s->Cr2 = 0;
        s->Cr4 = Cr4.Osfxsr | Cr4.Osxmmexcpt | Cr4.Osxsave | (isLong ? Cr4.Pae : 0);
        s->Xcr0 = 7;
        s->Efer = isLong ? Efer.Lme | Efer.Lma : 0;
        s->Flags = CpuFlags.Fixed | (isVirtual ? CpuFlags.Vm : 0);
        s->Cpl = setup.Cpl;
        uint rights = 0x93u | ((uint)setup.Cpl << 5);
        uint big = setup.Bits == 32 ? (uint)SegmentAttributes.Big : 0;
        uint bigStack = setup.StackBits == 32 ? (uint)SegmentAttributes.Big : 0;
        ushort selector(uint at, ushort protectedSelector) => isReal || isVirtual ? (ushort)(at >> 4) : (ushort)(protectedSelector | setup.Cpl);
        uint codeRights = isVirtual ? rights : rights | 8 | big;
        SegmentRegister make(SegmentRange range, uint attributes, ushort protectedSelector) =>
            new() { Selector = selector(range.Base, protectedSelector), Base = range.Base, Limit = range.Limit, Attributes = (SegmentAttributes)attributes };
        s->Cs = make(new SegmentRange(setup.CodeBase, setup.Bits == 32 ? uint.MaxValue : 0xFFFF), codeRights, 0x18);
        s->Ss = make(setup.Stack, rights | bigStack, 0x20);
        s->Ds = make(setup.Data, rights, 0x28);
        s->Es = make(setup.Data with { Base = setup.Data.Base == 0 ? 0 : setup.Data.Base + 0x20 }, rights, 0x30);
        uint limit = isVirtual || isReal ? 0xFFFFu : uint.MaxValue;
        s->Fs = make(new SegmentRange(FsBase, limit), rights, 0x38);
        s->Gs = make(new SegmentRange(GsBase, limit), rights, 0x40);
        s->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = FirstSelector + (8 * SelectorCount) - 1 };
        s->Idtr = isReal ? new DescriptorTableRegister { Limit = 0x3FF } : new DescriptorTableRegister { Base = isLong ? LongIdt : Idt, Limit = isLong ? 0xFFFu : 0x7FF };
        s->Tr = new SegmentRegister { Selector = 8, Base = isLong ? LongTss : Tss, Limit = 0x67, Attributes = SegmentAttributes.Present | (SegmentAttributes)11 };
        s->Rip = linear - setup.CodeBase;
        s->Shadow = InterruptShadow.None;
        s->Activity = ActivityState.Running;
        s->InstructionsRetired = 0;
        Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    public void Dispose()
    {
        Engine.Dispose();
        Cpu.Dispose();
        _memory.Dispose();
    }

    private void Write32(uint address, uint value) => *(uint*)(_memory.Base + address) = value;

    private void Write64(uint address, ulong value) => *(ulong*)(_memory.Base + address) = value;

    private void WriteTables()
    {
        // Handlers at privilege 0: 32-bit and 64-bit flat code, and a stack.
        Write64(Gdt + 0x08, 0x00CF9B000000FFFF);
        Write64(Gdt + 0x10, 0x00CF93000000FFFF);
        Write64(Gdt + 0x48, 0x00AF9B000000FFFF);
        ulong[] data = [0x00CF93000000FFFF, 0x0040930300001FFF, 0x00CF93030123FFFF, 0x00CFF3000000FFFF, 0x00CF92030123FFFF, 0x00CF91000000FFFF, 0x0040970300000FFF, 0x00CF13000000FFFF];
        for (uint i = 0; i < SelectorCount; i++)
            Write64(Gdt + FirstSelector + (i * 8), data[i]);
        Write32(Tss + 4, HandlerStack);
        Write32(Tss + 8, 0x10);
        Write64(LongTss + 4, HandlerStack);
        Write64(LongTss + 0x24, HandlerStack);
        for (uint vector = 0; vector < 256; vector++)
        {
            uint handler = Handlers + (vector * 4);
            _memory.Base[handler] = 0xF4;
            Write32(vector * 4, (Handlers << 12) | (vector * 4));
            ulong gate = (handler & 0xFFFF) | (0xEEUL << 40) | ((ulong)(handler >> 16) << 48);
            Write64(Idt + (vector * 8), gate | (8u << 16));
            Write64(LongIdt + (vector * 16), gate | (0x48u << 16) | (1UL << 32));
            Write64(LongIdt + (vector * 16) + 8, 0);
        }

        Write32(Directory, Table | 0x67);
        Write64(Root, (Root + 0x1000) | 0x67);
        Write64(Root + 0x1000, (Root + 0x2000) | 0x67);
        Write64(Root + 0x2000, LongTable | 0x67);
        for (uint i = 0; i < RamSize >> 12; i++)
        {
            uint page = i << 12;
            uint entry = page | (page == ModeSetup.DataStart + 0x2000 ? 0x66u : page == ModeSetup.DataStart + 0x3000 ? 0x65u : 0x67u);
            Write32(Table + (i * 4), entry);
            Write64(LongTable + (i * 8), entry);
        }
    }
}
