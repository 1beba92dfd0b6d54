using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Smp;

/// <summary>Code that one vCPU changes while others run it, in the ways of operating systems.</summary>
public sealed unsafe class CodePatchingTests
{
    private const ulong Data = SmpGuest.Data;
    private const ulong Errors = Data + 0xF000;
    private const ulong Acknowledged = Data + 0x40;
    private const ulong Ready = Data + 0x1000;
    private const int Vector = 0x40;
    private const ulong Sites = 0x600000;

    public static TheoryData<string> Engines => SmpGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_jump_label_is_always_what_it_was_or_what_it_becomes(string engine) => ChangeJumpLabels(engine, cpus: 3, rounds: 60);

    [Theory]
    [MemberData(nameof(Engines))]
    [Trait("Category", "Slow")]
    public void Many_changes_of_jump_labels_are_seen_whole(string engine) => ChangeJumpLabels(engine, cpus: 4, rounds: 1500);

    // As Linux's text_poke_bp does: INT3 on the first byte, then the tail, then the first byte, and after each an IPI to
    // all. Each site is a NOP of five bytes, or a jump; the second one crosses a page.
    private static void ChangeJumpLabels(string engine, int cpus, int rounds)
    {
        ulong[] sites = [Sites + 0x100, Sites + 0x1FFE, Sites + 0x3000];
        using var guest = new SmpGuest(engine, cpus);
        foreach (ulong site in sites)
            guest.Place(site, WriteSite);
        SetAcknowledge(guest);
        // INT3 stands for the NOP while it is there. It must be one of the sites': RIP is behind it.
        guest.SetHandler(3, 0x181000, a =>
        {
            Label fine = a.CreateLabel("fine");
            a.push(rax);
            a.mov(rax, __[rsp + 8]);
            foreach (ulong site in sites)
            {
                a.cmp(rax, (int)site + 1);
                a.je(fine);
            }

            a.mov(rax, Errors);
            a.@lock.inc(__qword_ptr[rax]);
            a.Label(ref fine);
            a.add(__qword_ptr[rsp + 8], 4);
            a.pop(rax);
            a.iretq();
        });
        // Words at Data + 0x100: for each site a sequence number, odd while it changes; halved, its parity says which it is.
        guest.Run(a =>
        {
            Label readers = a.CreateLabel("readers"), change = a.CreateLabel("change"), read = a.CreateLabel("read"), end = a.CreateLabel("end");
            Begin(a, cpus);
            a.test(edi, edi);
            a.jne(readers);
            a.mov(r15d, rounds);
            a.Label(ref change);
            for (int i = 0; i < sites.Length; i++)
            {
                a.mov(rdx, sites[i]);
                a.inc(__qword_ptr[rsi + (0x100 + (8 * i))]);
                a.mov(__byte_ptr[rdx], 0xCC);
                Synchronize(a, cpus);
                Label isJump = a.CreateLabel(), tail = a.CreateLabel(), first = a.CreateLabel(), done = a.CreateLabel();
                a.test(__dword_ptr[rsi + (0x100 + (8 * i))], 2);
                a.jne(isJump);
                a.mov(__dword_ptr[rdx + 1], 6);
                a.jmp(tail);
                a.Label(ref isJump);
                a.mov(__dword_ptr[rdx + 1], 0x0000441F);
                a.Label(ref tail);
                Synchronize(a, cpus);
                a.test(__dword_ptr[rsi + (0x100 + (8 * i))], 2);
                a.jne(first);
                a.mov(__byte_ptr[rdx], 0xE9);
                a.jmp(done);
                a.Label(ref first);
                a.mov(__byte_ptr[rdx], 0x0F);
                a.Label(ref done);
                Synchronize(a, cpus);
                a.inc(__qword_ptr[rsi + (0x100 + (8 * i))]);
            }

            a.dec(r15d);
            a.jne(change);
            a.mov(__dword_ptr[rsi], 1);
            a.jmp(end);
            a.Label(ref readers);
            a.sti();
            a.Label(ref read);
            for (int i = 0; i < sites.Length; i++)
            {
                Label fine = a.CreateLabel(), wrong = a.CreateLabel(), isKnown = a.CreateLabel();
                a.mov(r14, __[rsi + (0x100 + (8 * i))]);
                a.call(sites[i]);
                a.lea(ecx, __[rax - 1]);
                a.cmp(ecx, 1);
                a.ja(wrong);
                a.test(r14d, 1);
                a.jne(fine);
                a.cmp(r14, __[rsi + (0x100 + (8 * i))]);
                a.jne(fine);
                a.Label(ref isKnown);
                a.shr(r14d, 1);
                a.and(r14d, 1);
                a.cmp(ecx, r14d);
                a.je(fine);
                a.Label(ref wrong);
                a.@lock.inc(__qword_ptr[rbx]);
                a.Label(ref fine);
                a.nop();
            }

            SmpGuest.PauseNowAndThen(a);
            a.cmp(__dword_ptr[rsi], 0);
            a.je(read);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
        Assert.All(Enumerable.Range(0, sites.Length), i => Assert.Equal(2ul * (ulong)rounds, *guest.Word(Data + 0x100 + (8 * (ulong)i))));
    }

    [Theory]
    [InlineData(EngineNames.Interpreter, false)]
    [InlineData(EngineNames.Interpreter, true)]
    [InlineData(EngineNames.Translator, false)]
    [InlineData(EngineNames.Translator, true)]
    public void After_a_shoot_down_no_vCPU_runs_the_old_code(string engine, bool unmaps) => ShootDownCode(engine, unmaps, cpus: 3, rounds: 400);

    [Theory]
    [InlineData(EngineNames.Interpreter, false)]
    [InlineData(EngineNames.Interpreter, true)]
    [InlineData(EngineNames.Translator, false)]
    [InlineData(EngineNames.Translator, true)]
    [Trait("Category", "Slow")]
    public void After_many_shoot_downs_no_vCPU_runs_the_old_code(string engine, bool unmaps) => ShootDownCode(engine, unmaps, cpus: 4, rounds: 5000);

    // A page of code is replaced by another frame, or unmapped, changed where it is and mapped again, while the others run it.
    private static void ShootDownCode(string engine, bool unmaps, int cpus, int rounds)
    {
        const ulong Page = SmpGuest.SmallPages, Entry = SmpGuest.SmallPageTable, FirstFrame = 0x700000;
        using var guest = new SmpGuest(engine, cpus);
        for (ulong i = 0; i < 2; i++)
            guest.Place(FirstFrame + (i << 12), WriteFunction);
        *guest.Word(Entry) = FirstFrame | 3;
        SetAcknowledge(guest, a =>
        {
            a.mov(r10, Page);
            a.invlpg(__byte_ptr[r10]);
        });
        // #PF: what fetches again is right as soon as the page is there. Interrupts are let in, or nobody could shoot down.
        guest.SetHandler(14, 0x181000, a =>
        {
            Label wait = a.CreateLabel("wait"), fine = a.CreateLabel("fine");
            a.add(rsp, 8);
            a.push(rax);
            a.mov(rax, cr2);
            a.shr(rax, 12);
            a.cmp(rax, (int)(Page >> 12));
            a.je(fine);
            a.mov(rax, Errors);
            a.@lock.inc(__qword_ptr[rax]);
            a.Label(ref fine);
            a.mov(rax, Entry);
            a.sti();
            a.Label(ref wait);
            a.pause();
            a.test(__byte_ptr[rax], 1);
            a.je(wait);
            a.pop(rax);
            a.iretq();
        });
        guest.Run(a =>
        {
            Label readers = a.CreateLabel("readers"), change = a.CreateLabel("change"), read = a.CreateLabel("read"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end");
            Begin(a, cpus);
            a.mov(rbp, Page);
            a.mov(rdx, Entry);
            a.test(edi, edi);
            a.jne(readers);
            a.mov(r15d, 1);
            a.Label(ref change);
            a.mov(r14, FirstFrame);
            if (unmaps)
            {
                a.mov(__qword_ptr[rdx], 0);
                a.invlpg(__byte_ptr[rbp]);
                Synchronize(a, cpus);
                a.mov(__dword_ptr[r14 + 4], r15d);
                a.or(r14, 3);
                a.mov(__[rdx], r14);
            }
            else
            {
                // The spare frame gets the number of the round in its MOV EAX and becomes the page.
                a.mov(eax, r15d);
                a.and(eax, 1);
                a.shl(eax, 12);
                a.add(r14, rax);
                a.mov(__dword_ptr[r14 + 4], r15d);
                a.or(r14, 3);
                a.mov(__[rdx], r14);
                a.invlpg(__byte_ptr[rbp]);
                Synchronize(a, cpus);
            }

            a.mov(__dword_ptr[rsi], r15d);
            a.inc(r15d);
            a.cmp(r15d, rounds);
            a.jbe(change);
            a.jmp(end);
            a.Label(ref readers);
            a.sti();
            a.Label(ref read);
            a.mov(r15d, __dword_ptr[rsi]);
            a.call(rbp);
            a.cmp(eax, r15d);
            a.jae(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            SmpGuest.PauseNowAndThen(a);
            a.cmp(r15d, rounds);
            a.jne(read);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    // RSI is Data, RBX the errors, and all have met when it ends.
    private static void Begin(Assembler a, int cpus)
    {
        Label wait = a.CreateLabel();
        SmpGuest.EnableApic(a);
        a.mov(rsi, Data);
        a.mov(rbx, Errors);
        a.mov(rax, Ready);
        a.@lock.inc(__qword_ptr[rax]);
        a.Label(ref wait);
        a.pause();
        a.cmp(__qword_ptr[rax], cpus);
        a.jne(wait);
    }

    // Each has then returned from a handler, which serializes it.
    private static void Synchronize(Assembler a, int cpus) => SmpGuest.InterruptOthers(a, cpus, Vector, Acknowledged - Data);

    private static void SetAcknowledge(SmpGuest guest, Action<Assembler>? also = null) => guest.SetAcknowledge(Vector, 0x180000, Acknowledged, also);

    // A NOP of five bytes (or a jump over six), then 1 or 2 in EAX.
    private static void WriteSite(Assembler a)
    {
        a.db(0x0F, 0x1F, 0x44, 0x00, 0x00);
        a.mov(eax, 1);
        a.ret();
        a.mov(eax, 2);
        a.ret();
    }

    // Three bytes that do nothing before MOV EAX, 0, so that its operand is aligned.
    private static void WriteFunction(Assembler a)
    {
        a.nop();
        a.nop();
        a.nop();
        a.mov(eax, 0);
        a.ret();
    }
}
