using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// MOV to CR3 and INVLPG in emitted code, as <see cref="SoftTlb"/> has them, tags of code addresses included. A change to a
/// cached PCID that keeps its translations is a change of pointers.
/// </summary>
/// <remarks>
/// Entered by a jump with the operand in <see cref="RegisterMap.Address"/>, where to go on (executable mapping) in
/// <see cref="RegisterMap.Temporary"/>, and <see cref="StateLayout.ExitId"/> set for the interpreter, to which all that is
/// unusual goes. Keeps guest registers and flags.
/// </remarks>
internal static unsafe class AddressSpaceStub
{
    private const int PcideBit = 17;

    // TlbMemory's upper halves: one table of each that has it.
    private static readonly TlbMode[] UpperModes = [TlbMode.User, TlbMode.SupervisorSmap, TlbMode.UserAligned];

    /// <summary>Emits the stub of MOV to CR3.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="exit">Where what is unusual leaves.</param>
    /// <param name="physicalAddressBits">Of the guest's CPU.</param>
    internal static byte* EmitLoadCr3(ref Emitter code, nint toExecutable, byte* exit, int physicalAddressBits)
    {
        var c = new Assembler(64);
        Label leave = c.CreateLabel(), select = c.CreateLabel(), nextMode = c.CreateLabel();
        Label noPcid = c.CreateLabel();
        c.mov(Slot(StateLayout.RefillReturn), r11);
        EmittedStub.Save(c);
        c.cmp(EmittedStub.Walk(nameof(PageWalkControls.IsEnabled)), 0);
        c.je(leave);
        // Something other than global in the upper half must be dropped.
        c.cmp(Slot(StateLayout.CodeHasLocalUpper), 0);
        c.jne(leave);
        foreach (TlbMode mode in UpperModes)
        {
            c.mov(rax, Mode(mode));
            c.cmp(__dword_ptr[rax + EmittedStub.TlbControlOffset(nameof(TlbControl.HasLocal)) + TlbLayout.HalfBytes], 0);
            c.jne(leave);
        }

        // RDI: CR3. ECX: PCID. R8: keep.
        c.mov(rdi, r10);
        c.xor(r8d, r8d);
        c.xor(ecx, ecx);
        c.bt(Slot(SystemSlots.Cr4), PcideBit);
        c.jnc(noPcid);
        c.btr(rdi, 63);
        c.setc(r8b);
        c.mov(ecx, edi);
        c.and(ecx, 0xFFF);
        c.Label(ref noPcid);
        c.mov(rax, rdi);
        c.shr(rax, (byte)physicalAddressBits);
        c.jne(leave);
        // RSI: the slot.
        c.pext(rsi, rcx, EmittedStub.Walk(nameof(PageWalkControls.PcidMask)));
        c.imul(esi, esi, TlbSlot.Bytes);
        c.add(rsi, Slot(StateLayout.TlbSlots));
        c.cmp(__qword_ptr[rsi + SlotOffset(nameof(TlbSlot.Pcid))], rcx);
        c.jne(leave);
        c.test(r8b, r8b);
        c.jne(select);

        for (int mode = 0; mode < 4; mode++)
        {
            c.mov(rax, __qword_ptr[rsi + SlotOffset(nameof(TlbSlot.Modes)) + (8 * mode)]);
            c.cmp(__dword_ptr[rax + EmittedStub.TlbControlOffset(nameof(TlbControl.HasGlobal))], 0);
            c.jne(leave);
        }

        // A new tag; when they are used up, C# starts them again.
        c.mov(rax, (long)CodeTags.Step);
        c.add(rax, Slot(StateLayout.LastCodeTag));
        c.jc(leave);
        c.mov(Slot(StateLayout.LastCodeTag), rax);
        c.mov(__qword_ptr[rsi + SlotOffset(nameof(TlbSlot.Tag))], rax);
        c.inc(EmittedStub.Walk(nameof(PageWalkControls.Flushes)));
        c.xor(r8d, r8d);
        c.Label(ref nextMode);
        c.mov(rbx, __qword_ptr[rsi + (r8 * 8) + SlotOffset(nameof(TlbSlot.Modes))]);
        WriteFlush(c);
        c.inc(r8d);
        c.cmp(r8d, 4);
        c.jne(nextMode);

        c.Label(ref select);
        c.mov(Slot(StateLayout.Cr3), rdi);
        c.mov(rax, __qword_ptr[rsi + SlotOffset(nameof(TlbSlot.Tag))]);
        c.mov(Slot(StateLayout.CodeTags + (8 * CodeTags.Lower)), rax);
        c.mov(rax, Slot(StateLayout.Tlb));
        c.mov(ecx, __dword_ptr[rax + EmittedStub.TlbControlOffset(nameof(TlbControl.Mode))]);
        for (int mode = 0; mode < 4; mode++)
        {
            c.mov(rax, __qword_ptr[rsi + SlotOffset(nameof(TlbSlot.Modes)) + (8 * mode)]);
            c.mov(Mode((TlbMode)mode), rax);
        }

        c.mov(rax, __qword_ptr[rsi + (rcx * 8) + SlotOffset(nameof(TlbSlot.Modes))]);
        c.mov(Slot(StateLayout.Tlb), rax);
        WriteEnds(c, ref leave, (ulong)(exit + toExecutable));
        return EmittedStub.Assemble(ref code, toExecutable, c);
    }

    /// <summary>Emits the stub of INVLPG.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="exit">Where what is unusual leaves.</param>
    internal static byte* EmitInvalidatePage(ref Emitter code, nint toExecutable, byte* exit)
    {
        var c = new Assembler(64);
        Label leave = c.CreateLabel(), upper = c.CreateLabel(), done = c.CreateLabel();
        c.mov(Slot(StateLayout.RefillReturn), r11);
        EmittedStub.Save(c);
        c.mov(rax, r10);
        c.sar(rax, 47);
        c.inc(rax);
        c.cmp(rax, 1);
        c.ja(done);
        // Where code is cached by this address, or executed from it at this moment, there is more to do.
        c.mov(rdi, r10);
        c.and(rdi, -4096);
        c.cmp(rdi, Slot(StateLayout.CodePage));
        c.je(leave);
        c.mov(rax, rdi);
        c.shr(rax, 12);
        c.and(eax, 4095);
        c.test(rdi, rdi);
        c.js(upper);
        c.cmp(__byte_ptr.gs[rax + CpuStateBlock.CodePagesOffset], 0);
        c.jne(leave);
        c.cmp(Slot(StateLayout.CodeHasLarge + (8 * CodeTags.Lower)), 0);
        c.jne(leave);
        c.cmp(EmittedStub.Walk(nameof(PageWalkControls.HasGlobalLower)), 0);
        c.jne(leave);
        WriteIndex(c);
        for (int mode = 0; mode < 4; mode++)
            WriteInvalidate(c, (TlbMode)mode, 0, leave);
        c.jmp(done);
        c.Label(ref upper);
        c.cmp(__byte_ptr.gs[rax + CpuStateBlock.CodePagesOffset + 4096], 0);
        c.jne(leave);
        c.cmp(Slot(StateLayout.CodeHasLarge + (8 * CodeTags.Upper)), 0);
        c.jne(leave);
        WriteIndex(c);
        foreach (TlbMode mode in UpperModes)
            WriteInvalidate(c, mode, TlbLayout.HalfBytes, leave);
        c.Label(ref done);
        WriteEnds(c, ref leave, (ulong)(exit + toExecutable));
        return EmittedStub.Assemble(ref code, toExecutable, c);
    }

    private static AssemblerMemoryOperand Slot(int offset) => EmittedStub.Slot(offset);

    private static AssemblerMemoryOperand Mode(TlbMode mode) => Slot(StateLayout.TlbModes + (8 * (int)mode));

    private static int SlotOffset(string field) => (int)Marshal.OffsetOf<TlbSlot>(field);

    // RDI: the page. Leaves its place in a table in RSI.
    private static void WriteIndex(Assembler c)
    {
        c.pext(rsi, rdi, Slot(StateLayout.IndexMask));
        c.shl(esi, 3);
    }

    // TlbHalf.FlushPage of one table, for what was not split from a large page.
    private static void WriteInvalidate(Assembler c, TlbMode mode, int half, Label leave)
    {
        Label small = c.CreateLabel(), next = c.CreateLabel();
        c.mov(rbx, Mode(mode));
        c.cmp(__dword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HasLarge)) + half], 0);
        c.je(small);
        c.mov(rax, rdi);
        c.shr(rax, 22);
        c.mov(ecx, eax);
        c.shr(ecx, 6);
        c.and(ecx, (1 << (TlbControl.LargeBits - 6)) - 1);
        c.mov(rdx, __qword_ptr[rbx + (rcx * 8) + EmittedStub.TlbControlOffset(nameof(TlbControl.LargeRegions)) + half]);
        c.bt(rdx, rax);
        c.jc(leave);
        c.shr(rax, 8);
        c.mov(rdx, __qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HugeRegions)) + half]);
        c.bt(rdx, rax);
        c.jc(leave);
        c.Label(ref small);
        c.lea(rcx, __[rdi + 1]);
        c.cmp(__qword_ptr[rbx + rsi + TlbLayout.Page], rcx);
        c.jne(next);
        c.neg(rcx);
        WriteEmpty(c, rbx + rsi);
        c.Label(ref next);
        c.nop();
    }

    // RBX: a table whose lower half goes, and holds nothing global. Uses all but RSI, RDI, R8.
    private static void WriteFlush(Assembler c)
    {
        Label word = c.CreateLabel(), bit = c.CreateLabel(), wordDone = c.CreateLabel(), clear = c.CreateLabel(), done = c.CreateLabel();
        c.mov(rdx, __qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.FilledWords))]);
        c.test(rdx, rdx);
        c.je(done);
        c.Label(ref word);
        c.tzcnt(rcx, rdx);
        c.blsr(rdx, rdx);
        c.mov(rax, __qword_ptr[rbx + (rcx * 8) + EmittedStub.TlbControlOffset(nameof(TlbControl.Filled))]);
        c.mov(__qword_ptr[rbx + (rcx * 8) + EmittedStub.TlbControlOffset(nameof(TlbControl.Filled))], 0);
        c.shl(ecx, 9);
        c.lea(r11, __[rbx + rcx]);
        c.Label(ref bit);
        c.test(rax, rax);
        c.je(wordDone);
        c.tzcnt(r10, rax);
        c.blsr(rax, rax);
        c.mov(rcx, __qword_ptr[r11 + (r10 * 8) + TlbLayout.Page]);
        c.neg(rcx);
        c.je(bit);
        WriteEmpty(c, r11 + (r10 * 8));
        c.jmp(bit);
        c.Label(ref wordDone);
        c.test(rdx, rdx);
        c.jne(word);
        c.mov(__qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.FilledWords))], 0);
        c.mov(__qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HasLocal))], 0);
        c.cmp(__dword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HasLarge))], 0);
        c.je(done);
        c.mov(__qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HasLarge))], 0);
        c.mov(__qword_ptr[rbx + EmittedStub.TlbControlOffset(nameof(TlbControl.HugeRegions))], 0);
        c.mov(ecx, (1 << TlbControl.LargeBits) / 64);
        c.Label(ref clear);
        c.mov(__qword_ptr[rbx + (rcx * 8) + EmittedStub.TlbControlOffset(nameof(TlbControl.LargeRegions)) - 8], 0);
        c.dec(ecx);
        c.jne(clear);
        c.Label(ref done);
        c.nop();
    }

    // RCX: the page's address and 1, negated. The tags become those of the page two further on.
    private static void WriteEmpty(Assembler c, AssemblerMemoryOperand entry)
    {
        c.sub(rcx, 0x1FFF);
        c.mov(__qword_ptr[entry + TlbLayout.ReadTag], rcx);
        c.mov(__qword_ptr[entry + TlbLayout.WriteTag], rcx);
        c.mov(__qword_ptr[entry + TlbLayout.ExecuteTag], rcx);
        c.mov(__qword_ptr[entry + TlbLayout.Page], 0);
        c.mov(__qword_ptr[entry + TlbLayout.Detail], 0);
    }

    private static void WriteEnds(Assembler c, ref Label leave, ulong exit)
    {
        EmittedStub.Restore(c);
        c.jmp(Slot(StateLayout.RefillReturn));
        c.Label(ref leave);
        EmittedStub.Restore(c);
        c.jmp(exit);
    }
}
