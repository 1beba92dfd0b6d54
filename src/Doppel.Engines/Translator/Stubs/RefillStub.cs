using System.Runtime.InteropServices;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Memory;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// Fills the TLB in emitted code: walks 4-level page tables in guest RAM as <see cref="PageWalker"/> does, with all checks
/// of rights and reserved bits, sets accessed and dirty bits, fills the entry as <see cref="SoftTlb"/> does, and lets the
/// access be tried again. All else leaves to C#, which begins anew: other paging modes, tables and pages that are not RAM,
/// watched pages, writes to pages of code, accesses across a page end, debug registers, alignment checks.
/// </summary>
/// <remarks>
/// Entered by a jump with the linear address in <see cref="RegisterMap.Address"/>, where to try again (executable mapping) in
/// <see cref="RegisterMap.Temporary"/>, and the number of the exit in <see cref="RegisterMap.Check"/>. What tries again must do no more than this
/// one access: two accesses whose pages share an entry would otherwise evict each other for ever. Keeps the address, all
/// guest registers and flags; <see cref="RegisterMap.Check"/> and Temporary are lost.
/// </remarks>
internal sealed unsafe class RefillStub
{
    private const long Frame = 0x000F_FFFF_FFFF_F000;
    private const int Present = 1;
    private const int Accessed = 0x20;
    private const int Dirty = 0x40;
    private const int PageSize = 0x80;
    private const int ErrorPresent = 1;
    private const int ErrorUser = 4;
    private const int ErrorReserved = 8;
    private const int Plain = (int)(PageFlags.Ram | PageFlags.Rom);
    private const int Seen = (int)(PageFlags.Code | PageFlags.PageTable | PageFlags.Watched);

    private readonly AccessKind _access;
    private readonly Assembler _c = new(64);
    private readonly ulong _exit;
    private readonly ulong _fault;
    private Label _leave;
    private Label _leaveNoted;
    private Label _walk;
    private Label _absent;
    private Label _reserved;

    private RefillStub(AccessKind access, ulong exit, ulong fault)
    {
        _access = access;
        _exit = exit;
        _fault = fault;
        _leave = _c.CreateLabel();
        _leaveNoted = _c.CreateLabel();
        _walk = _c.CreateLabel();
        _absent = _c.CreateLabel();
        _reserved = _c.CreateLabel();
    }

    private int TagOffset => _access switch
    {
        AccessKind.Write => TlbLayout.WriteTag,
        AccessKind.Execute => TlbLayout.ExecuteTag,
        _ => TlbLayout.ReadTag,
    };

    private int WantedRight => (int)(_access switch
    {
        AccessKind.Write => TlbRights.Write,
        AccessKind.Execute => TlbRights.Execute,
        _ => TlbRights.Read,
    });

    /// <summary>Emits the stub for one kind of access.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="access">The kind.</param>
    /// <param name="exit">Where what is unusual leaves, in the writable mapping: all is as on entry, but that the address is in <see cref="StateLayout.ExitAddress"/>.</param>
    /// <param name="fault">
    /// Where a page fault goes, in the writable mapping: the same, with <see cref="StateLayout.FaultAddress"/> and
    /// <see cref="StateLayout.FaultError"/> set. Accessed bits are set as far as the walk went.
    /// </param>
    internal static byte* Emit(ref Emitter code, nint toExecutable, AccessKind access, byte* exit, byte* fault)
    {
        var stub = new RefillStub(access, (ulong)(exit + toExecutable), (ulong)(fault + toExecutable));
        stub.Write();
        return EmittedStub.Assemble(ref code, toExecutable, stub._c);
    }

    private static AssemblerMemoryOperand Slot(int offset) => EmittedStub.Slot(offset);

    private static AssemblerMemoryOperand Control(string field) => EmittedStub.Walk(field);

    private static int ControlOffset(string field) => EmittedStub.TlbControlOffset(field);

    // R10: the address. RSI: the TLB entry. RDI: the linear page. RDX: what the walk denies. R8: the host address of the
    // page table entry, RAX the entry. R11: the frame mask. RBX, RCX: scratch.
    private void Write()
    {
        Assembler c = _c;
        Label retag = c.CreateLabel();
        c.mov(Slot(StateLayout.ExitAddress), r10);
        c.mov(Slot(StateLayout.RefillReturn), r11);
        c.mov(Slot(StateLayout.ExitId), rcx);
        EmittedStub.Save(c);
        c.cmp(Control(nameof(PageWalkControls.IsEnabled)), 0);
        c.je(_leave);
        c.mov(rbx, Slot(StateLayout.Tlb));
        c.cmp(__dword_ptr[rbx + ControlOffset(nameof(TlbControl.Mode))], (int)TlbMode.UserAligned);
        c.je(_leave);
        // A canonical address leaves 0 or -1.
        c.mov(rax, r10);
        c.sar(rax, 47);
        c.inc(rax);
        c.cmp(rax, 1);
        c.ja(_leave);

        c.pext(rsi, r10, Slot(StateLayout.IndexMask));
        c.lea(rsi, __[rbx + (rsi * 8)]);
        c.mov(rdi, r10);
        c.and(rdi, -4096);
        c.lea(rdx, __[rdi + 1]);
        c.cmp(rdx, __qword_ptr[rsi + TlbLayout.Page]);
        c.jne(_walk);
        c.mov(r8, __qword_ptr[rsi + TlbLayout.Detail]);
        c.test(r8b, (byte)WantedRight);
        c.je(_walk);
        // The translation is there. With its tag, the access crosses the page's end; without, the page is not plain
        // memory, unless it stopped being watched for writes since.
        if (_access != AccessKind.Write)
        {
            c.jmp(_leave);
        }
        else
        {
            c.mov(rdx, rdi);
            c.neg(rdx);
            c.cmp(rdx, __qword_ptr[rsi + TlbLayout.WriteTag]);
            c.je(_leave);
            c.jmp(retag);
        }

        WriteWalk(out Label fill);
        WriteFill(ref fill, retag);
        WriteTags(ref retag);
        WriteEnds();
    }

    private void WriteWalk(out Label fill)
    {
        Assembler c = _c;
        fill = c.CreateLabel();
        Label huge = c.CreateLabel(), large = c.CreateLabel(), protection = c.CreateLabel();
        Label leaf = c.CreateLabel();
        c.Label(ref _walk);
        c.inc(Control(nameof(PageWalkControls.Walks)));
        c.mov(r11, Frame);
        c.xor(edx, edx);
        c.mov(r8, Slot(StateLayout.Cr3));
        c.and(r8, r11);
        for (int level = 4; level >= 1; level--)
        {
            // The table must be memory.
            c.mov(rcx, r8);
            c.shr(rcx, 12);
            c.cmp(rcx, Control(nameof(PageWalkControls.PageCount)));
            c.jae(_leave);
            c.add(rcx, Slot(StateLayout.PageFlags));
            c.test(__byte_ptr[rcx], (int)PageFlags.Ram);
            c.je(_leave);
            c.mov(rcx, r10);
            c.shr(rcx, (byte)(12 + (9 * (level - 1)) - 3));
            c.and(ecx, 0xFF8);
            c.add(r8, rcx);
            c.add(r8, Slot(StateLayout.Ram));
            c.mov(rax, __qword_ptr[r8]);
            c.test(al, Present);
            c.je(_absent);
            c.test(Control(level == 4 ? nameof(PageWalkControls.ReservedTop) : nameof(PageWalkControls.Reserved)), rax);
            c.jne(_reserved);
            c.mov(rcx, rax);
            c.xor(rcx, 6);
            c.or(rdx, rcx);
            if (level == 1)
                break;
            if (level <= 3)
            {
                c.test(al, PageSize);
                c.jne(level == 3 ? huge : large);
            }

            Label accessed = c.CreateLabel();
            c.test(al, Accessed);
            c.jne(accessed);
            c.mov(rcx, rax);
            c.or(rcx, Accessed);
            WriteBits(accessed);
            c.Label(ref accessed);
            c.mov(r8, rax);
            c.and(r8, r11);
        }

        // RDI holds the page; RBX is the frame with the kind of page in the low bits.
        c.mov(rbx, rax);
        c.and(rbx, r11);
        c.jmp(leaf);

        c.Label(ref huge);
        c.test(Control(nameof(PageWalkControls.ReservedHuge)), rax);
        c.jne(_reserved);
        WriteLargeFrame(30, TlbRights.Huge);
        c.jmp(leaf);

        c.Label(ref large);
        c.test(eax, 0x1FE000);
        c.jne(_reserved);
        WriteLargeFrame(21, TlbRights.Large);

        c.Label(ref leaf);
        c.pext(rcx, rdx, Slot(StateLayout.DeniedMask));
        c.shl(ecx, 3);
        c.mov(rdx, Slot(StateLayout.Tlb));
        c.mov(edx, __dword_ptr[rdx + ControlOffset(nameof(TlbControl.Mode))]);
        c.mov(rdx, __qword_ptr.gs[(rdx * 8) + (StateLayout.Walk + (int)Marshal.OffsetOf<PageWalkControls>(nameof(PageWalkControls.Rights)))]);
        c.shrx(rdx, rdx, rcx);
        c.and(edx, (int)(TlbRights.Read | TlbRights.Write | TlbRights.Execute | TlbRights.User));
        c.test(dl, (byte)WantedRight);
        c.je(protection);
        // User pages of the upper half are not for a table that both supervisor modes share.
        Label cacheable = c.CreateLabel();
        c.test(dl, (int)TlbRights.User);
        c.je(cacheable);
        c.test(rdi, rdi);
        c.js(_leave);
        c.Label(ref cacheable);
        c.or(rbx, rdx);

        Label marked = c.CreateLabel();
        c.mov(rcx, rax);
        c.or(rcx, Accessed | (_access == AccessKind.Write ? Dirty : 0));
        c.cmp(rcx, rax);
        c.je(marked);
        WriteBits(marked, keepsFrame: true);
        c.Label(ref marked);
        Label dirty = c.CreateLabel();
        c.test(al, Dirty);
        c.jne(dirty);
        c.and(rbx, ~(int)TlbRights.Write);
        c.Label(ref dirty);
        // PTE bit 8 is G, rights bit 3.
        c.shr(rax, 5);
        c.and(rax, Control(nameof(PageWalkControls.GlobalMask)));
        c.or(rax, rbx);
        c.mov(r8, rax);
        c.jmp(fill);

        c.Label(ref protection);
        c.mov(ecx, ErrorPresent);
        WriteFault();
        c.Label(ref _reserved);
        c.mov(ecx, ErrorPresent | ErrorReserved);
        WriteFault();
        c.Label(ref _absent);
        c.xor(ecx, ecx);
        WriteFault();
    }

    private void WriteLargeFrame(int shift, TlbRights kind)
    {
        Assembler c = _c;
        c.mov(rbx, rax);
        c.and(rbx, r11);
        c.shr(rbx, (byte)shift);
        c.shl(rbx, (byte)shift);
        c.mov(rcx, r10);
        c.and(ecx, (1 << shift) - 4096);
        c.lea(rbx, __[rbx + rcx + (int)kind]);
    }

    // Puts RCX into the entry at R8 if it still is RAX, and RAX is that then. If not, the walk is made again. What was
    // written is reported as GuestMemory.NoteWrite does.
    private void WriteBits(Label done, bool keepsFrame = false)
    {
        Assembler c = _c;
        AssemblerRegister64 flags = keepsFrame ? rdx : rbx;
        c.@lock.cmpxchg(__qword_ptr[r8], rcx);
        c.jne(_walk);
        c.mov(rax, rcx);
        c.mov(flags, r8);
        c.sub(flags, Slot(StateLayout.Ram));
        c.shr(flags, 12);
        c.add(flags, Slot(StateLayout.PageFlags));
        c.test(__byte_ptr[flags], Seen);
        c.jne(_leaveNoted);
        c.test(__byte_ptr[flags], (int)PageFlags.Dirty);
        c.jne(done);
        c.@lock.or(__byte_ptr[flags], (int)PageFlags.Dirty);
    }

    // ECX: the bits that tell why. The mode of the table tells who asked.
    private void WriteFault()
    {
        Assembler c = _c;
        if (_access == AccessKind.Write)
            c.or(ecx, (int)AccessKind.Write);
        Label kernel = c.CreateLabel();
        c.mov(rax, Slot(StateLayout.Tlb));
        c.cmp(__dword_ptr[rax + ControlOffset(nameof(TlbControl.Mode))], (int)TlbMode.User);
        c.jne(kernel);
        c.or(ecx, ErrorUser);
        c.Label(ref kernel);
        if (_access == AccessKind.Execute)
            c.or(rcx, Control(nameof(PageWalkControls.FetchError)));
        c.mov(Slot(StateLayout.FaultError), rcx);
        c.mov(Slot(StateLayout.FaultAddress), r10);
        EmittedStub.Restore(_c);
        c.jmp(_fault);
    }

    // R8: frame and rights.
    private void WriteFill(ref Label fill, Label retag)
    {
        Assembler c = _c;
        c.Label(ref fill);
        c.mov(rbx, Slot(StateLayout.Tlb));
        c.mov(rcx, rdi);
        c.shr(rcx, 47 - 3 - TlbLayout.IndexBits);
        c.and(ecx, TlbLayout.HalfBytes);
        c.add(rbx, rcx);
        WriteInvalidTag(rcx);
        c.mov(__qword_ptr[rsi + TlbLayout.ReadTag], rcx);
        c.mov(__qword_ptr[rsi + TlbLayout.WriteTag], rcx);
        c.mov(__qword_ptr[rsi + TlbLayout.ExecuteTag], rcx);
        c.lea(rcx, __[rdi + 1]);
        c.mov(__qword_ptr[rsi + TlbLayout.Page], rcx);
        c.mov(__qword_ptr[rsi + TlbLayout.Detail], r8);
        c.mov(rax, rdi);
        c.shr(rax, 12);
        c.and(eax, TlbLayout.HalfSize - 1);
        c.mov(ecx, eax);
        c.shr(ecx, 6);
        c.mov(rdx, __qword_ptr[rbx + (rcx * 8) + ControlOffset(nameof(TlbControl.Filled))]);
        c.bts(rdx, rax);
        c.mov(__qword_ptr[rbx + (rcx * 8) + ControlOffset(nameof(TlbControl.Filled))], rdx);
        c.mov(rdx, __qword_ptr[rbx + ControlOffset(nameof(TlbControl.FilledWords))]);
        c.bts(rdx, rcx);
        c.mov(__qword_ptr[rbx + ControlOffset(nameof(TlbControl.FilledWords))], rdx);
        Label global = c.CreateLabel(), isLarge = c.CreateLabel();
        Label after = c.CreateLabel();
        c.test(r8b, (int)TlbRights.Global);
        c.jne(global);
        c.mov(__dword_ptr[rbx + ControlOffset(nameof(TlbControl.HasLocal))], 1);
        c.jmp(after);
        c.Label(ref global);
        c.mov(__dword_ptr[rbx + ControlOffset(nameof(TlbControl.HasGlobal))], 1);
        c.test(rdi, rdi);
        c.js(after);
        c.mov(Control(nameof(PageWalkControls.HasGlobalLower)), 1);
        c.Label(ref after);
        c.test(r8b, (int)(TlbRights.Large | TlbRights.Huge));
        c.je(retag);
        c.mov(__dword_ptr[rbx + ControlOffset(nameof(TlbControl.HasLarge))], 1);
        c.mov(rax, rdi);
        c.test(r8b, (int)TlbRights.Large);
        c.jne(isLarge);
        c.shr(rax, 30);
        c.mov(rdx, __qword_ptr[rbx + ControlOffset(nameof(TlbControl.HugeRegions))]);
        c.bts(rdx, rax);
        c.mov(__qword_ptr[rbx + ControlOffset(nameof(TlbControl.HugeRegions))], rdx);
        c.jmp(retag);
        c.Label(ref isLarge);
        c.shr(rax, 22);
        c.mov(rcx, rax);
        c.shr(rcx, 6);
        c.and(ecx, (1 << (TlbControl.LargeBits - 6)) - 1);
        c.mov(rdx, __qword_ptr[rbx + (rcx * 8) + ControlOffset(nameof(TlbControl.LargeRegions))]);
        c.bts(rdx, rax);
        c.mov(__qword_ptr[rbx + (rcx * 8) + ControlOffset(nameof(TlbControl.LargeRegions))], rdx);
    }

    // The tags of SoftTlb.SetTags. R8: frame and rights.
    private void WriteTags(ref Label retag)
    {
        Assembler c = _c;
        Label unreadable = c.CreateLabel(), notExecutable = c.CreateLabel(), tagged = c.CreateLabel();
        c.Label(ref retag);
        c.mov(rax, r8);
        c.shr(rax, 12);
        c.cmp(rax, Control(nameof(PageWalkControls.PageCount)));
        c.jae(_leave);
        c.add(rax, Slot(StateLayout.PageFlags));
        c.movzx(ecx, __byte_ptr[rax]);
        c.test(cl, Plain);
        c.je(_leave);
        c.mov(rdx, r8);
        c.and(rdx, -4096);
        c.add(rdx, Slot(StateLayout.Ram));
        c.sub(rdx, rdi);
        c.mov(__qword_ptr[rsi + TlbLayout.Addend], rdx);
        c.mov(rdx, rdi);
        c.neg(rdx);
        c.test(r8b, (int)TlbRights.Execute);
        c.je(notExecutable);
        c.mov(__qword_ptr[rsi + TlbLayout.ExecuteTag], rdx);
        c.Label(ref notExecutable);
        c.test(cl, (int)PageFlags.Watched);
        c.jne(tagged);
        c.test(r8b, (int)TlbRights.Read);
        c.je(unreadable);
        c.mov(__qword_ptr[rsi + TlbLayout.ReadTag], rdx);
        c.Label(ref unreadable);
        c.test(r8b, (int)TlbRights.Write);
        c.je(tagged);
        c.test(cl, (int)PageFlags.Ram);
        c.je(tagged);
        Label dirty = c.CreateLabel();
        c.test(cl, (int)PageFlags.Dirty);
        c.jne(dirty);
        c.@lock.or(__byte_ptr[rax], (int)PageFlags.Dirty);
        c.Label(ref dirty);
        // Who protects a page sets its flag before he drops the tags: after this locked store one of us sees the other.
        c.mov(rbx, rdx);
        c.xchg(__qword_ptr[rsi + TlbLayout.WriteTag], rbx);
        c.test(__byte_ptr[rax], Seen);
        c.je(tagged);
        WriteInvalidTag(rcx);
        c.mov(__qword_ptr[rsi + TlbLayout.WriteTag], rcx);
        c.Label(ref tagged);
        c.cmp(rdx, __qword_ptr[rsi + TagOffset]);
        c.jne(_leave);
        EmittedStub.Restore(_c);
        c.jmp(Slot(StateLayout.RefillReturn));
    }

    // TlbHalf.InvalidTag need not be met exactly: the page two further on will do.
    private void WriteInvalidTag(AssemblerRegister64 register)
    {
        _c.mov(register, rdi);
        _c.neg(register);
        _c.sub(register, 0x2000);
    }

    private void WriteEnds()
    {
        Assembler c = _c;
        c.Label(ref _leaveNoted);
        c.sub(r8, Slot(StateLayout.Ram));
        c.inc(r8);
        c.mov(Slot(StateLayout.NotedWrite), r8);
        c.Label(ref _leave);
        EmittedStub.Restore(_c);
        c.jmp(_exit);
    }
}
