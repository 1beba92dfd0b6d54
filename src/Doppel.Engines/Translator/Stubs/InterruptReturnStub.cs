using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Doppel.Engines.Translator.StubCode;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// IRETQ from CPL 0 to 64-bit code at CPL 0 or 3, as <see cref="Machine.Cpu.Segments.InterruptReturn"/> has it, with flat
/// segments that are marked accessed. Anything else (another privilege or mode, NT, TF, AC, an interrupt that would be let
/// in, a frame or descriptor that misses the TLB) leaves by the exit whose number the block has stored, before anything has
/// changed.
/// </summary>
/// <remarks>
/// RF, which every fault pushes, matters only to instruction breakpoints, and with those enabled nothing is translated:
/// it is dropped, as if the next instruction had already cleared it. An engine under comparison keeps it: then it leaves.
/// </remarks>
internal sealed unsafe class InterruptReturnStub
{
    private const ulong Unusual = CpuFlags.Tf | CpuFlags.Ac | CpuFlags.Vif | CpuFlags.Vip | CpuFlags.Vm;
    private const ulong Loaded = CpuFlags.Status | CpuFlags.If | CpuFlags.Df | CpuFlags.Iopl | CpuFlags.Nt | CpuFlags.Id;
    private const int FrameBytes = 40;

    // Whether it may be read and AVL do not matter; the accessed bit must be set.
    private const ulong CodeMask = ~((1UL << 41) | (1UL << 52));
    private const ulong FlatCode = 0x00AF99000000FFFF;

    // AVL, L and B do not matter.
    private const ulong DataMask = ~((1UL << 52) | (1UL << 53) | (1UL << 54));
    private const ulong FlatData = 0x008F93000000FFFF;
    private const int LevelShift = 45;
    private const int NullStackBit = 16;

    private static readonly AssemblerRegister64[] Borrowed = [rax, rdx, rbx, rsi, rdi];

    /// <summary>Emits the stub.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="stubs">Exit and look-up.</param>
    /// <param name="keepsResumeFlag">A popped RF is left to the interpreter.</param>
    internal InterruptReturnStub(ref Emitter code, Stubs stubs, bool keepsResumeFlag)
    {
        byte* toKernel = code.Position;
        EmitBranch(ref code, stubs, isUser: false);
        byte* toUser = code.Position;
        EmitBranch(ref code, stubs, isUser: true);
        Entry = Assemble(ref code, a => Emit(a, stubs, keepsResumeFlag, (ulong)toKernel, (ulong)toUser));
    }

    /// <summary>Where blocks jump to. In the writable mapping.</summary>
    internal byte* Entry { get; }

    private static void EmitBranch(ref Emitter code, Stubs stubs, bool isUser)
    {
        StatusFlags.EmitLoad(ref code);
        code.LoadSlot(RegisterMap.Address, StateLayout.ExitAddress);
        stubs.EmitBranch(ref code, isUser);
    }

    private static Label Emit(Assembler a, Stubs stubs, bool keepsResumeFlag, ulong toKernel, ulong toUser)
    {
        Label leave = a.CreateLabel(), entry = a.CreateLabel(), outer = a.CreateLabel();
        a.Label(ref leave);
        Restore(a);
        a.popfq();
        a.jmp((ulong)stubs.Exit);

        a.Label(ref entry);
        a.pushfq();
        foreach (AssemblerRegister64 register in Borrowed)
            a.push(register);

        // The frame's host address.
        a.pext(Temporary, GuestStack, Slot(StateLayout.IndexMask));
        a.mov(Check, Slot(StateLayout.Tlb));
        a.lea(Temporary, __[Check + (Temporary * 8)]);
        a.mov(Address, GuestStack);
        a.mov(Check, __qword_ptr[Temporary + TlbLayout.ReadTag]);
        a.lea(Check, __[Check + Address + (FrameBytes - 1)]);
        a.cmp(Check, 4096);
        a.jae(leave);
        a.add(Address, __qword_ptr[Temporary + TlbLayout.Addend]);

        a.test(Slot32(SystemSlots.FlagSystem), (int)(CpuFlags.Nt | CpuFlags.Ac));
        a.jnz(leave);
        a.mov(rbx, __qword_ptr[Address + 16]);
        a.test(ebx, (int)(Unusual | (keepsResumeFlag ? CpuFlags.Rf : 0)));
        a.jnz(leave);
        RequireQuiet(a, ebx, leave);
        a.mov(rax, __qword_ptr[Address]);
        RequireCanonical(a, rax, Check, leave);
        a.and(ebx, (int)Loaded);
        a.movzx(edx, __word_ptr[Address + 8]);
        a.movzx(Temporary32, __word_ptr[Address + 32]);
        a.mov(Check32, edx);
        a.and(Check32, 3);
        a.cmp(Check32, 3);
        a.je(outer);
        a.test(Check32, Check32);
        a.jnz(leave);
        Return(a, level: 0, toKernel, leave);
        a.Label(ref outer);
        RequireOuterData(a, leave);
        Return(a, level: 3, toUser, leave);
        return entry;
    }

    // RAX: RIP; RBX: flags; EDX: CS; temporary: SS; address: the frame.
    private static void Return(Assembler a, int level, ulong target, Label leave)
    {
        Label hasStack = a.CreateLabel(), isNull = a.CreateLabel();
        a.test(edx, 0xFFFC);
        a.jz(leave);
        LoadDescriptor(a, edx, leave);
        RequireFlat(a, CodeMask, FlatCode, level, leave);
        a.mov(__qword_ptr[rsp - 8], rsi);
        a.mov(Check32, Temporary32);
        a.and(Check32, 3);
        a.cmp(Check32, level);
        a.jne(leave);
        a.test(Temporary32, 0xFFFC);
        if (level == 3)
            a.jz(leave);
        else
            a.jz(isNull);
        LoadDescriptor(a, Temporary32, leave);
        RequireFlat(a, DataMask, FlatData, level, leave);
        if (level != 3)
        {
            a.jmp(hasStack);
            a.Label(ref isNull);
            a.mov(rsi, (ulong)SegmentAttributes.Unusable << 32);
            a.Label(ref hasStack);
        }

        // Nothing below can fail.
        a.mov(Slot(SystemSlots.Ss + SystemSlots.Limit), rsi);
        a.mov(Slot(SystemSlots.Ss + SystemSlots.Selector), Temporary);
        a.mov(Slot(SystemSlots.Ss), 0);
        a.mov(rsi, __qword_ptr[rsp - 8]);
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Limit), rsi);
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Selector), rdx);
        a.mov(Slot(SystemSlots.Cs), 0);
        a.mov(GuestStack, __qword_ptr[Address + 24]);
        a.and(Slot32(SystemSlots.Shadow), ~(int)InterruptShadow.NmiBlocked);
        StoreFlagSystem(a, ebx, Temporary, Temporary32);
        if (level == 3)
            EnterUser(a, Temporary);
        a.mov(Slot(StateLayout.ExitAddress), rax);
        a.mov(Address, rbx);
        Restore(a);
        a.lea(rsp, __[rsp + 8]);
        a.jmp(target);
    }

    // The descriptor of a selector in the GDT into RCX; changes RSI and RDI. At CPL 0 with AC clear the current table is
    // that of the processor's own accesses, too.
    private static void LoadDescriptor(Assembler a, AssemblerRegister32 selector, Label leave)
    {
        a.test(selector, 4);
        a.jnz(leave);
        a.mov(Check32, selector);
        a.or(Check32, 7);
        a.cmp(Check32, Slot32(SystemSlots.Gdtr + SystemSlots.TableLimit));
        a.ja(leave);
        a.and(Check32, ~7);
        a.add(Check, Slot(SystemSlots.Gdtr));
        a.pext(rsi, Check, Slot(StateLayout.IndexMask));
        a.mov(rdi, Slot(StateLayout.Tlb));
        a.lea(rsi, __[rdi + (rsi * 8)]);
        a.mov(rdi, __qword_ptr[rsi + TlbLayout.ReadTag]);
        a.lea(rdi, __[rdi + Check + 7]);
        a.cmp(rdi, 4096);
        a.jae(leave);
        a.add(Check, __qword_ptr[rsi + TlbLayout.Addend]);
        a.mov(Check, __qword_ptr[Check]);
    }

    // Limit and attributes of the descriptor in RCX into RSI.
    private static void RequireFlat(Assembler a, ulong mask, ulong value, int level, Label leave)
    {
        a.mov(rsi, mask);
        a.and(rsi, Check);
        a.mov(rdi, value | ((ulong)level << LevelShift));
        a.cmp(rsi, rdi);
        a.jne(leave);
        a.shr(Check, 40);
        a.and(Check32, 0xF0FF);
        a.shl(Check, 32);
        a.mov(esi, -1);
        a.or(rsi, Check);
    }

    // Data segments of an inner privilege would be dropped.
    private static void RequireOuterData(Assembler a, Label leave)
    {
        foreach (int segment in new[] { SystemSlots.Es, SystemSlots.Ds, SystemSlots.Fs, SystemSlots.Gs })
        {
            Label usable = a.CreateLabel();
            a.mov(Check32, Slot32(segment + SystemSlots.Attributes));
            a.bt(Check32, NullStackBit);
            a.jc(usable);
            a.not(Check32);
            a.test(Check32, (int)SegmentAttributes.DplMask);
            a.jnz(leave);
            a.Label(ref usable);
        }
    }

    private static void Restore(Assembler a)
    {
        foreach (AssemblerRegister64 register in Borrowed.Reverse())
            a.pop(register);
    }
}
