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
        stubs.EmitBranch(ref code, isUser ? CodeSpace.User : CodeSpace.Kernel);
    }

    private static Label Emit(Assembler a, Stubs stubs, bool keepsResumeFlag, ulong toKernel, ulong toUser)
    {
        Label leave = a.CreateLabel(), entry = a.CreateLabel(), outer = a.CreateLabel();
        a.Label(ref leave);
        Restore(a);
        a.popfq();
        a.lea(rsp, __[rsp + StateLayout.Bias]);
        a.jmp((ulong)stubs.Exit);

        a.Label(ref entry);
        // The stack begins below the state, so that the words of guest registers stay as they are.
        a.lea(rsp, __[rsp - StateLayout.Bias]);
        a.pushfq();
        foreach (AssemblerRegister64 register in Borrowed)
            a.push(register);

        a.mov(Address, GuestStack);
        DescriptorCode.Translate(a, Address, StateLayout.Tlb, TlbLayout.ReadTag, FrameBytes, leave);
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

    // RAX: RIP. RBX: flags. EDX: CS. R11: SS. R10: the frame. At CPL 0 with AC clear the current table of the TLB is that of
    // the processor's own accesses, too.
    private static void Return(Assembler a, int level, ulong target, Label leave)
    {
        Label hasStack = a.CreateLabel(), isNull = a.CreateLabel();
        DescriptorCode.LoadCode(a, edx, level, StateLayout.Tlb, leave);
        a.mov(__qword_ptr[rsp - 8], rsi);
        a.mov(Check32, Temporary32);
        a.and(Check32, 3);
        a.cmp(Check32, level);
        a.jne(leave);
        if (level != 3)
        {
            a.test(Temporary32, 0xFFFC);
            a.jz(isNull);
        }

        DescriptorCode.LoadData(a, Temporary32, level, StateLayout.Tlb, leave);
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
        a.lea(rsp, __[rsp + 8 + StateLayout.Bias]);
        a.jmp(target);
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
