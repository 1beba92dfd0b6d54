using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Events;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Doppel.Engines.Translator.StubCode;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// Delivers a page fault that <see cref="RefillStub"/> has found, as <see cref="EventDelivery"/> does, through a 64-bit gate
/// to a flat code segment at CPL 0. Anything else (another gate, a table, TSS or stack that misses the TLB, AC at CPL 3,
/// tracing) leaves with nothing changed: C# walks the tables again and delivers.
/// </summary>
internal sealed unsafe class PageFaultStub
{
    private const int Vector = (int)ExceptionVector.PageFault;
    private const int GuestPage = 4096;
    private const int GateBytes = 16;
    private const int FrameBytes = 48;
    private const ulong Cleared = CpuFlags.Tf | CpuFlags.Nt | CpuFlags.Rf | CpuFlags.Vm;

    // P, S and type of the gate's access byte.
    private const int GateRights = 0x9F;
    private const int InterruptGate = 0x8E;
    private const int FirstInnerStack = 4;
    private const int InterruptStacks = 0x1C;

    private static readonly AssemblerRegister64[] Borrowed = [rax, rdx, rbx, rsi, rdi];

    /// <summary>Emits the stub.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="stubs">Exit and look-up.</param>
    internal PageFaultStub(ref Emitter code, Stubs stubs)
    {
        byte* toKernel = code.Position;
        StatusFlags.EmitLoad(ref code);
        code.LoadSlot(RegisterMap.Address, StateLayout.ExitAddress);
        stubs.EmitBranch(ref code, CodeSpace.Kernel);
        Entry = Assemble(ref code, a => Emit(a, stubs, (ulong)toKernel));
    }

    /// <summary>
    /// Entered with <see cref="StateLayout.FaultAddress"/>, <see cref="StateLayout.FaultError"/> and
    /// <see cref="StateLayout.ExitId"/> set; guest registers and flags are at home. In the writable mapping.
    /// </summary>
    internal byte* Entry { get; }

    private static Label Emit(Assembler a, Stubs stubs, ulong toKernel)
    {
        Label leave = a.CreateLabel(), entry = a.CreateLabel(), isUsual = a.CreateLabel();
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
        a.cmp(Slot(SystemSlots.Traced), 0);
        a.jne(leave);

        // Code of a kernel that is not 64-bit has another gate table, or is on its way into long mode.
        a.test(Slot32(StateLayout.Variant), (int)TranslationVariant.Mode);
        a.jz(isUsual);
        a.cmp(Slot32(SystemSlots.Cpl), 0);
        a.je(leave);
        a.Label(ref isUsual);

        // An access that runs on beyond the canonical addresses raises #GP.
        a.lea(rdx, __[Address + GuestPage]);
        RequireCanonical(a, rdx, rsi, leave);
        SelectTables(a, leave);
        ReadGate(a, leave);
        FindStack(a, leave);
        a.and(Address, ~15);
        a.sub(Address, FrameBytes);
        a.mov(Check, Address);
        DescriptorCode.Translate(a, Check, SystemSlots.StackTable, TlbLayout.WriteTag, FrameBytes, leave);

        // Nothing below can fail.
        PushFrame(a);
        LoadState(a);
        a.mov(Address, __qword_ptr[rsp + (sizeof(ulong) * Borrowed.Length)]);
        Restore(a);
        a.lea(rsp, __[rsp + sizeof(ulong) + StateLayout.Bias]);
        a.jmp(toKernel);
        return entry;
    }

    // Tables are read as a supervisor without AC, the stack as one with what AC is.
    private static void SelectTables(Assembler a, Label leave)
    {
        Label isKernel = a.CreateLabel(), selected = a.CreateLabel();
        LoadKernelTable(a, Check, Check32);
        a.mov(Slot(SystemSlots.SystemTable), Check);
        a.cmp(Slot32(SystemSlots.Cpl), 0);
        a.je(isKernel);
        a.test(Slot32(SystemSlots.FlagSystem), (int)CpuFlags.Ac);
        a.jnz(leave);
        a.jmp(selected);
        a.Label(ref isKernel);
        a.mov(Check, Slot(StateLayout.Tlb));
        a.Label(ref selected);
        a.mov(Slot(SystemSlots.StackTable), Check);
    }

    // RDX: the handler. RBX: 0 for an interrupt gate, 1 for a trap gate. EAX: the selector of its code. R11: the interrupt
    // stack that it asks for.
    private static void ReadGate(Assembler a, Label leave)
    {
        a.cmp(Slot32(SystemSlots.Idtr + SystemSlots.TableLimit), (Vector * GateBytes) + GateBytes - 1);
        a.jb(leave);
        a.mov(Check, Slot(SystemSlots.Idtr));
        a.add(Check, Vector * GateBytes);
        DescriptorCode.Translate(a, Check, SystemSlots.SystemTable, TlbLayout.ReadTag, GateBytes, leave);
        a.mov(rax, __qword_ptr[Check]);
        a.mov(rdx, __qword_ptr[Check + 8]);
        a.mov(rbx, rax);
        a.shr(rbx, 40);
        a.and(ebx, GateRights);
        a.sub(ebx, InterruptGate);
        a.cmp(ebx, 1);
        a.ja(leave);
        a.mov(rsi, rax);
        a.shr(rsi, 32);
        a.mov(Temporary32, esi);
        a.and(Temporary32, 7);
        a.and(esi, unchecked((int)0xFFFF0000));
        a.movzx(edi, ax);
        a.or(rsi, rdi);
        a.shl(rdx, 32);
        a.or(rdx, rsi);
        RequireCanonical(a, rdx, rsi, leave);
        a.shr(rax, 16);
        a.movzx(eax, ax);
        DescriptorCode.LoadCode(a, eax, level: 0, SystemSlots.SystemTable, leave);
        a.mov(Slot(SystemSlots.CodeHidden), rsi);
        a.and(eax, 0xFFFC);
    }

    // R10: the stack that the frame goes to.
    private static void FindStack(Assembler a, Label leave)
    {
        Label isListed = a.CreateLabel(), read = a.CreateLabel(), found = a.CreateLabel();
        a.test(Temporary32, Temporary32);
        a.jnz(isListed);
        a.mov(Address, GuestStack);
        a.cmp(Slot32(SystemSlots.Cpl), 0);
        a.je(found);
        a.mov(Check32, FirstInnerStack);
        a.jmp(read);
        a.Label(ref isListed);
        a.lea(Check32, __[(Temporary * 8) + InterruptStacks]);
        a.Label(ref read);
        a.test(Slot32(SystemSlots.Tr + SystemSlots.Attributes), (int)SegmentAttributes.Unusable);
        a.jnz(leave);
        a.lea(esi, __[Check + 7]);
        a.cmp(esi, Slot32(SystemSlots.Tr + SystemSlots.Limit));
        a.ja(leave);
        a.add(Check, Slot(SystemSlots.Tr));
        DescriptorCode.Translate(a, Check, SystemSlots.SystemTable, TlbLayout.ReadTag, sizeof(ulong), leave);
        a.mov(Address, __qword_ptr[Check]);
        RequireCanonical(a, Address, Check, leave);
        a.Label(ref found);
    }

    // RCX: the frame's host address. RIP is that of the exit; for a fetch, the target of the look-up (exit 0).
    private static void PushFrame(Assembler a)
    {
        Label isFetch = a.CreateLabel();
        a.mov(rsi, Slot(StateLayout.FaultError));
        a.mov(__qword_ptr[Check], rsi);
        a.mov(rsi, Slot(StateLayout.ExitAddress));
        a.mov(Temporary32, Slot32(StateLayout.ExitId));
        a.test(Temporary32, Temporary32);
        a.jz(isFetch);
        a.mov(rdi, Slot(SystemSlots.ExitOffsets));
        a.mov(Temporary32, __dword_ptr[rdi + (Temporary * 4)]);
        a.movzx(esi, Temporary16);
        a.add(rsi, Slot(StateLayout.CodePage));
        a.shr(Temporary32, ExitTable.NotRetiredShift);
        a.sub(Slot(StateLayout.InstructionsRetired), Temporary);
        a.Label(ref isFetch);
        a.mov(__qword_ptr[Check + 8], rsi);
        a.movzx(esi, __word_ptr.gs[SystemSlots.Cs + SystemSlots.Selector]);
        a.mov(__qword_ptr[Check + 16], rsi);
        a.mov(rsi, __qword_ptr[rsp + (sizeof(ulong) * Borrowed.Length)]);
        a.and(esi, (int)CpuFlags.Status);
        a.or(rsi, Slot(SystemSlots.FlagSystem));
        a.or(rsi, (int)CpuFlags.Rf);
        a.mov(__qword_ptr[Check + 24], rsi);
        a.mov(__qword_ptr[Check + 32], GuestStack);
        a.movzx(esi, __word_ptr.gs[SystemSlots.Ss + SystemSlots.Selector]);
        a.mov(__qword_ptr[Check + 40], rsi);
    }

    private static void LoadState(Assembler a)
    {
        Label isKernel = a.CreateLabel(), isTrap = a.CreateLabel();
        a.mov(GuestStack, Address);
        a.mov(rsi, Slot(StateLayout.FaultAddress));
        a.mov(Slot(SystemSlots.Cr2), rsi);
        a.inc(Slot(SystemSlots.ExceptionsDelivered));
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Selector), rax);
        a.mov(Slot(SystemSlots.Cs), 0);
        a.mov(rsi, Slot(SystemSlots.CodeHidden));
        a.mov(Slot(SystemSlots.Cs + SystemSlots.Limit), rsi);
        a.cmp(Slot32(SystemSlots.Cpl), 0);
        a.je(isKernel);
        a.mov(Slot(SystemSlots.Ss), 0);
        a.mov(rsi, (ulong)SegmentAttributes.Unusable << 32);
        a.mov(Slot(SystemSlots.Ss + SystemSlots.Limit), rsi);
        a.mov(Slot(SystemSlots.Ss + SystemSlots.Selector), 0);
        EnterKernel(a, rsi, esi);
        a.Label(ref isKernel);
        a.mov(rsi, Slot(SystemSlots.FlagSystem));
        a.and(esi, ~(int)Cleared);
        a.test(ebx, ebx);
        a.jnz(isTrap);
        a.and(esi, ~(int)CpuFlags.If);
        a.Label(ref isTrap);
        a.mov(Slot(SystemSlots.FlagSystem), rsi);
        a.and(Slot32(SystemSlots.Shadow), ~(int)(InterruptShadow.Sti | InterruptShadow.MovSs));
        a.mov(Slot(StateLayout.ExitAddress), rdx);
    }

    private static void Restore(Assembler a)
    {
        foreach (AssemblerRegister64 register in Borrowed.Reverse())
            a.pop(register);
    }
}
