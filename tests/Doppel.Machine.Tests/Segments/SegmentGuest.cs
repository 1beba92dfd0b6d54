using System.Runtime.CompilerServices;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Doppel.Machine.Tests.HostInstructions;

namespace Doppel.Machine.Tests.Segments;

/// <summary>
/// A vCPU with descriptor tables made by hand, which can be put into every mode. Paging is off outside long mode; in
/// long mode the first 16 MiB are mapped one to one for every privilege, and the page at <see cref="AbsentPage"/> is not.
/// </summary>
internal sealed unsafe class SegmentGuest : IDisposable
{
    internal const ulong Gdt = 0x1000;
    internal const ulong Idt = 0x2000;
    internal const ulong Ldt = 0x3000;
    internal const ulong Tss = 0x4000;
    internal const ulong OtherTss = 0x5000;
    internal const ulong Stack = 0x20000;
    internal const ulong InnerStack = 0x30000;
    internal const ulong AbsentPage = 0x600000;

    internal const ushort Code32 = 0x08;
    internal const ushort Data32 = 0x10;
    internal const ushort UserCode32 = 0x1B;
    internal const ushort UserData32 = 0x23;
    internal const ushort Code64 = 0x28;
    internal const ushort UserCode64 = 0x3B;
    internal const ushort TssSelector = 0x40;
    internal const ushort LdtSelector = 0x50;
    internal const ushort Code16 = 0x60;
    internal const ushort Data16 = 0x68;
    internal const ushort UserData16 = 0x73;
    internal const ushort Conforming32 = 0x78;
    internal const ushort Free = 0x90;
    internal const ushort OtherTssSelector = 0xA0;
    internal const ushort AbsentData = 0xA8;
    internal const ushort ReadOnlyData = 0xB0;
    internal const ushort ExecuteOnly = 0xB8;
    internal const ushort ExpandDown = 0xC0;
    internal const ushort ReadOnlyUserData = 0xCB;

    private const ulong Tables = 0x10000;
    private readonly GuestMemory _memory = new(16 << 20);

    internal SegmentGuest(bool isAmd = false)
    {
        var ioLock = new Lock();
        var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
        var model = new CpuModel { Name = "test", Signature = 0x806F8, PhysicalAddressBits = 40, Has1GiBPages = true, IsAmd = isAmd };
        Cpu = new VirtualCpu(0, model, physical, new IoBus("ports", 0x10000, ioLock), new FixedClock());
        Describe(Code32, 0, 0xFFFFF, 0x9A, 0xC);
        Describe(Data32, 0, 0xFFFFF, 0x92, 0xC);
        Describe(UserCode32, 0, 0xFFFFF, 0xFA, 0xC);
        Describe(UserData32, 0, 0xFFFFF, 0xF2, 0xC);
        Describe(Code64, 0, 0xFFFFF, 0x9A, 0xA);
        Describe(UserCode64, 0, 0xFFFFF, 0xFA, 0xA);
        Describe(Code16, 0, 0xFFFF, 0x9A, 0);
        Describe(Data16, 0, 0xFFFF, 0x92, 0);
        Describe(UserData16, 0, 0xFFFF, 0xF2, 0);
        Describe(Conforming32, 0, 0xFFFFF, 0x9E, 0xC);
        Describe(AbsentData, 0, 0xFFFFF, 0x12, 0xC);
        Describe(ReadOnlyData, 0, 0xFFFFF, 0x90, 0xC);
        Describe(ExecuteOnly, 0, 0xFFFFF, 0x98, 0xC);
        Describe(ExpandDown, 0, 0xFFF, 0x96, 0x4);
        Describe(ReadOnlyUserData, 0, 0xFFFFF, 0xF0, 0xC);
        Describe(LdtSelector, Ldt, 0xFF, 0x82, 0);
        Describe(OtherTssSelector, OtherTss, 0xFF, 0x89, 0);
        State->Gdtr = new DescriptorTableRegister { Base = Gdt, Limit = 0xFF };
        State->Idtr = new DescriptorTableRegister { Base = Idt, Limit = 0xFFF };
        State->Rip = 0x5000;
    }

    internal VirtualCpu Cpu { get; }

    internal CpuState* State => Cpu.State;

    internal ref ulong Rsp => ref State->Gpr[4];

    internal byte* Ram => _memory.Base;

    public void Dispose()
    {
        Cpu.Dispose();
        _memory.Dispose();
    }

    /// <summary>Writes a descriptor with a 20-bit limit; flags are G, D, L, AVL.</summary>
    internal void Describe(ushort selector, ulong address, uint limit, uint access, uint flags) =>
        WriteEntry(selector, Descriptor(address, limit, access, flags));

    internal void WriteEntry(ushort selector, ulong value)
    {
        ulong table = (selector & 4) != 0 ? Ldt : Gdt;
        Write64(table + (selector & 0xFFF8u), value);
    }

    internal ulong ReadEntry(ushort selector) => Read64(Gdt + (selector & 0xFFF8u));

    internal static ulong Descriptor(ulong address, uint limit, uint access, uint flags) =>
        (limit & 0xFFFF) | ((address & 0xFFFFFF) << 16) | ((ulong)access << 40) | ((ulong)(limit >> 16) << 48)
        | ((ulong)flags << 52) | ((address >> 24) << 56);

    /// <summary>A gate of 8 bytes: access holds P, DPL and type; parameters are those of a call gate or an IST number.</summary>
    internal static ulong Gate(ushort selector, ulong offset, uint access, uint parameters = 0) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)parameters << 32) | ((ulong)access << 40) | ((offset & 0xFFFF0000) << 32);

    /// <summary>Writes an IDT gate of the size that the current mode has.</summary>
    internal void SetGate(int vector, ushort selector, ulong offset, uint access, uint ist = 0)
    {
        if (!State->IsLongMode)
        {
            Write64(Idt + ((uint)vector * 8), Gate(selector, offset, access));
            return;
        }

        Write64(Idt + ((uint)vector * 16), Gate(selector, offset, access, ist));
        Write64(Idt + ((uint)vector * 16) + 8, offset >> 32);
    }

    internal void Write64(ulong address, ulong value) => Unsafe.WriteUnaligned(Ram + address, value);

    internal void Write32(ulong address, uint value) => Unsafe.WriteUnaligned(Ram + address, value);

    internal void Write16(ulong address, ushort value) => Unsafe.WriteUnaligned(Ram + address, value);

    internal ulong Read64(ulong address) => Unsafe.ReadUnaligned<ulong>(Ram + address);

    internal uint Read32(ulong address) => Unsafe.ReadUnaligned<uint>(Ram + address);

    internal ushort Read16(ulong address) => Unsafe.ReadUnaligned<ushort>(Ram + address);

    /// <summary>Real mode with all segments at 0 except SS at 2000h.</summary>
    internal void EnterReal()
    {
        const SegmentAttributes Rights = (SegmentAttributes)0x93;
        State->Es = State->Ds = State->Fs = State->Gs = State->Cs = new SegmentRegister { Limit = 0xFFFF, Attributes = Rights };
        State->Ss = new SegmentRegister { Selector = 0x2000, Base = 0x20000, Limit = 0xFFFF, Attributes = Rights };
        State->Idtr = new DescriptorTableRegister { Limit = 0x3FF };
        Rsp = 0x1000;
        Cpu.ModeChanged();
    }

    /// <summary>32-bit protected mode with flat segments at privilege 0 or 3 and a 32-bit TSS.</summary>
    internal void EnterProtected(int level = 0)
    {
        State->Cr0 |= Cr0.Pe;
        State->Cpl = level;
        Describe(TssSelector, Tss, 0xFFF, 0x8B, 0);
        State->Tr = new SegmentRegister { Selector = TssSelector, Base = Tss, Limit = 0xFFF, Attributes = (SegmentAttributes)0x8B };
        Write32(Tss + 4, (uint)InnerStack);
        Write16(Tss + 8, Data32);
        Write16(Tss + 102, 0x68);
        uint dpl = (uint)level << 5;
        State->Cs = Flat(level == 0 ? Code32 : UserCode32, 0xC09B | dpl);
        State->Es = State->Ds = State->Fs = State->Gs = State->Ss = Flat(level == 0 ? Data32 : UserData32, 0xC093 | dpl);
        Rsp = Stack;
        Cpu.ModeChanged();
    }

    /// <summary>Virtual-8086 mode above a 32-bit TSS; segments as in <see cref="EnterReal"/>.</summary>
    internal void EnterVirtual(int iopl)
    {
        EnterProtected(3);
        State->Flags = CpuFlags.Fixed | CpuFlags.Vm | CpuFlags.If | ((ulong)iopl << 12);
        const SegmentAttributes Rights = (SegmentAttributes)0xF3;
        State->Cs = State->Es = State->Fs = State->Gs = new SegmentRegister { Limit = 0xFFFF, Attributes = Rights };
        State->Ds = new SegmentRegister { Selector = 0x1234, Base = 0x12340, Limit = 0xFFFF, Attributes = Rights };
        State->Ss = new SegmentRegister { Selector = 0x2000, Base = 0x20000, Limit = 0xFFFF, Attributes = Rights };
        Rsp = 0x1000;
        Cpu.ModeChanged();
    }

    /// <summary>64-bit mode at privilege 0 or 3 with a 64-bit TSS whose RSP0 is <see cref="InnerStack"/>.</summary>
    internal void EnterLong(int level = 0)
    {
        ulong directory = Tables + 0x2000;
        ulong table = Tables + 0x3000;
        Write64(Tables, (Tables + 0x1000) | 7);
        Write64(Tables + 0x1000, directory | 7);
        for (ulong i = 0; i < 8; i++)
            Write64(directory + (8 * i), (i << 21) | 0x87);
        Write64(directory + (8 * (AbsentPage >> 21)), table | 7);
        for (ulong i = 1; i < 512; i++)
            Write64(table + (8 * i), (AbsentPage + (i << 12)) | 7);
        State->Cr0 |= Cr0.Pe | Cr0.Pg | Cr0.Wp;
        State->Cr3 = Tables;
        State->Cr4 |= Cr4.Pae;
        State->Efer = Efer.Lme | Efer.Lma | Efer.Sce;
        State->Cpl = level;
        Describe(TssSelector, Tss, 0xFFF, 0x8B, 0);
        Write64(Gdt + TssSelector + 8, 0);
        State->Tr = new SegmentRegister { Selector = TssSelector, Base = Tss, Limit = 0xFFF, Attributes = (SegmentAttributes)0x8B };
        Write64(Tss + 4, InnerStack);
        Write16(Tss + 102, 0x68);
        uint dpl = (uint)level << 5;
        State->Cs = Flat(level == 0 ? Code64 : UserCode64, 0xA09B | dpl);
        State->Es = State->Ds = State->Fs = State->Gs = State->Ss = Flat(level == 0 ? Data32 : UserData32, 0xC093 | dpl);
        Rsp = Stack;
        Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    /// <summary>Pushes a frame of equal slots so that the first one is on top; sets RSP (of a stack at linear base).</summary>
    internal void PushFrame(int size, params ReadOnlySpan<ulong> values)
    {
        for (int i = values.Length - 1; i >= 0; i--)
        {
            Rsp -= (uint)size;
            Cpu.Linear.WriteSystem(State->Ss.Base + Rsp, size, values[i]);
        }
    }

    /// <summary>Runs what must fault, and checks that nothing of the state has changed.</summary>
    internal void ExpectFault(ExceptionVector vector, uint errorCode, Action action)
    {
        byte[] before = Snapshot();
        (ExceptionVector, uint) seen = Catch(action);
        Assert.Equal((vector, errorCode), seen);
        Assert.Equal(before, Snapshot());
    }

    /// <summary>The fault that the action throws.</summary>
    internal static (ExceptionVector Vector, uint ErrorCode) Catch(Action action)
    {
        try
        {
            action();
        }
        catch (GuestFault fault)
        {
            return (fault.Vector, fault.ErrorCode);
        }

        throw new InvalidOperationException("a fault was expected and none came");
    }

    // All but what counts page walks, which a refused instruction may make.
    private byte[] Snapshot()
    {
        byte[] bytes = new ReadOnlySpan<byte>(State, sizeof(CpuState)).ToArray();
        bytes.AsSpan((int)((byte*)&State->Walk - (byte*)State), sizeof(PageWalkControls)).Clear();
        return bytes;
    }

    private static SegmentRegister Flat(ushort selector, uint rights) =>
        new() { Selector = selector, Limit = uint.MaxValue, Attributes = (SegmentAttributes)rights };
}
