using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// REP MOVS and REP STOS with 64-bit addresses: the pages are looked up in the TLB once for each run that stays inside them,
/// and the host's own REP does the run. Between runs the registers say how far it is, so that an event, a fault or anything
/// unusual (DF, an element across a page end, what is not plain memory) can leave to the interpreter, which goes on there.
/// </summary>
/// <remarks>
/// Entered by a jump with where to go on (executable mapping) in <see cref="RegisterMap.Temporary"/> and
/// <see cref="StateLayout.ExitId"/> set for the interpreter. Uses the scratch registers and no flags.
/// </remarks>
internal sealed unsafe class RepeatStub
{
    private readonly byte*[] _moves = new byte*[4];
    private readonly byte*[] _stores = new byte*[4];

    /// <summary>Emits the stubs for elements of 1, 2, 4 and 8 bytes.</summary>
    /// <param name="code">Where, in the writable mapping.</param>
    /// <param name="toExecutable">Distance from the writable to the executable mapping.</param>
    /// <param name="stubs">The exit and the refills.</param>
    internal RepeatStub(ref Emitter code, nint toExecutable, Stubs stubs)
    {
        for (int shift = 0; shift < 4; shift++)
        {
            _moves[shift] = Emit(ref code, toExecutable, stubs, shift, moves: true);
            _stores[shift] = Emit(ref code, toExecutable, stubs, shift, moves: false);
        }
    }

    /// <summary>REP MOVS of elements of 2 to the power of <paramref name="shift"/> bytes, in the writable mapping.</summary>
    internal byte* Move(int shift) => _moves[shift];

    /// <summary>REP STOS, in the writable mapping.</summary>
    internal byte* Store(int shift) => _stores[shift];

    private static byte* Emit(ref Emitter code, nint toExecutable, Stubs stubs, int shift, bool moves)
    {
        var c = new Assembler(64);
        Label next = c.CreateLabel(), leave = c.CreateLabel(), done = c.CreateLabel();
        Label quiet = c.CreateLabel(), some = c.CreateLabel(), forward = c.CreateLabel(), source = c.CreateLabel();
        Label destination = c.CreateLabel(), reached = c.CreateLabel(), smaller = c.CreateLabel(), all = c.CreateLabel();
        c.mov(Slot(StateLayout.RepeatReturn), r11);

        c.Label(ref next);
        c.mov(rcx, r15);
        c.jrcxz(done);
        c.jmp(some);
        c.Label(ref done);
        c.jmp(Slot(StateLayout.RepeatReturn));
        c.Label(ref some);
        c.mov(ecx, StubCode.Slot32(StateLayout.PendingEvents));
        c.jrcxz(quiet);
        c.Label(ref leave);
        c.jmp((ulong)(stubs.Exit + toExecutable));
        c.Label(ref quiet);
        c.mov(rcx, Slot(SystemSlots.FlagSystem));
        c.pext(rcx, rcx, Slot(StateLayout.DirectionMask));
        c.jrcxz(moves ? forward : destination);
        c.jmp(leave);
        if (moves)
        {
            c.Label(ref forward);
            WriteLookup(c, rsi, shift, TlbLayout.ReadTag, forward, source, (ulong)(stubs.RefillRead + toExecutable));
            c.Label(ref source);
            c.mov(Slot(StateLayout.RepeatSource), r11);
        }

        // The second look-up retries on its own: both pages may have the same entry.
        c.Label(ref destination);
        WriteLookup(c, rdi, shift, TlbLayout.WriteTag, destination, reached, (ulong)(stubs.RefillWrite + toExecutable));
        c.Label(ref reached);
        c.mov(Slot(StateLayout.Spill), rax);
        c.lahf();
        c.seto(al);
        c.mov(Slot(StateLayout.Spill + 8), rax);

        // Elements that lie in both pages, at least one.
        c.mov(rcx, rdi);
        c.or(rcx, -4096);
        c.neg(rcx);
        if (moves)
        {
            c.mov(rax, rsi);
            c.or(rax, -4096);
            c.neg(rax);
            c.cmp(rax, rcx);
            c.jae(smaller);
            c.mov(rcx, rax);
            c.Label(ref smaller);
        }

        if (shift != 0)
            c.shr(ecx, (byte)shift);
        c.cmp(rcx, r15);
        c.jbe(all);
        c.mov(rcx, r15);
        c.Label(ref all);
        c.sub(r15, rcx);
        c.add(rdi, r11);
        if (moves)
        {
            c.add(rsi, Slot(StateLayout.RepeatSource));
            WriteMoves(c.rep, shift);
            c.sub(rsi, Slot(StateLayout.RepeatSource));
        }
        else
        {
            c.mov(rax, Slot(StateLayout.Spill));
            WriteStores(c.rep, shift);
        }

        c.sub(rdi, r11);
        c.mov(rax, Slot(StateLayout.Spill + 8));
        c.add(al, 0x7F);
        c.sahf();
        c.mov(rax, Slot(StateLayout.Spill));
        c.jmp(next);
        return Assemble(ref code, toExecutable, c);
    }

    private static void WriteMoves(Assembler c, int shift)
    {
        switch (shift)
        {
            case 0:
                c.movsb();
                break;
            case 1:
                c.movsw();
                break;
            case 2:
                c.movsd();
                break;
            default:
                c.movsq();
                break;
        }
    }

    private static void WriteStores(Assembler c, int shift)
    {
        switch (shift)
        {
            case 0:
                c.stosb();
                break;
            case 1:
                c.stosw();
                break;
            case 2:
                c.stosd();
                break;
            default:
                c.stosq();
                break;
        }
    }

    // Leaves the distance of the host address in R11; a miss refills and comes back.
    private static void WriteLookup(Assembler c, AssemblerRegister64 pointer, int shift, int tags, Label retry, Label hit, ulong refill)
    {
        c.mov(r10, pointer);
        c.pext(r11, r10, Slot(StateLayout.IndexMask));
        c.mov(rcx, Slot(StateLayout.Tlb));
        c.lea(r11, __[rcx + (r11 * 8)]);
        c.mov(rcx, __qword_ptr[r11 + tags]);
        c.mov(r11, __qword_ptr[r11 + TlbLayout.Addend]);
        c.lea(rcx, __[rcx + r10 + ((1 << shift) - 1)]);
        c.pext(rcx, rcx, Slot(StateLayout.PageMask));
        c.jrcxz(hit);
        c.mov(rcx, Slot(StateLayout.ExitId));
        c.lea(r11, __[retry]);
        c.jmp(refill);
    }
}
