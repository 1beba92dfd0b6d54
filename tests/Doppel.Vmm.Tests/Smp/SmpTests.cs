using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Smp;

/// <summary>What several vCPUs must see of each other, stressed by small guests on both engines.</summary>
public sealed unsafe class SmpTests
{
    private const ulong Data = SmpGuest.Data;
    private const ulong Errors = Data + 0xF000;
    private const int Vector = 0x40;

    public static TheoryData<string> Engines => SmpGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void Locked_updates_of_four_vCPUs_lose_nothing(string engine)
    {
        const int Cpus = 4, Rounds = 20_000;
        using var guest = new SmpGuest(engine, Cpus);
        guest.Run(a =>
        {
            Label next = a.CreateLabel("next"), retry = a.CreateLabel("retry"), acquire = a.CreateLabel("acquire"), spin = a.CreateLabel("spin"), acquired = a.CreateLabel("acquired");
            a.mov(rsi, Data);
            a.mov(r15d, Rounds);
            a.Label(ref next);
            a.@lock.inc(__qword_ptr[rsi]);
            a.mov(eax, 3);
            a.@lock.xadd(__dword_ptr[rsi + 0x40], eax);
            a.mov(rax, __qword_ptr[rsi + 0x80]);
            a.Label(ref retry);
            a.lea(rdx, __[rax + 5]);
            a.@lock.cmpxchg(__qword_ptr[rsi + 0x80], rdx);
            a.jne(retry);
            a.@lock.add(__word_ptr[rsi + 0xC1], 1);
            // A spin lock by XCHG around an increment that is not atomic.
            a.Label(ref acquire);
            a.mov(eax, 1);
            a.xchg(__dword_ptr[rsi + 0x100], eax);
            a.test(eax, eax);
            a.je(acquired);
            a.Label(ref spin);
            a.pause();
            a.cmp(__dword_ptr[rsi + 0x100], 0);
            a.jne(spin);
            a.jmp(acquire);
            a.Label(ref acquired);
            a.inc(__qword_ptr[rsi + 0x140]);
            a.mov(__dword_ptr[rsi + 0x100], 0);
            a.dec(r15d);
            a.jne(next);
        });
        Assert.Equal(Cpus * Rounds, (long)*guest.Word(Data));
        Assert.Equal(Cpus * Rounds * 3, (long)*guest.Word(Data + 0x40));
        Assert.Equal(Cpus * Rounds * 5, (long)*guest.Word(Data + 0x80));
        Assert.Equal((Cpus * Rounds) & 0xFFFF, (int)(*guest.Word(Data + 0xC0) >> 8) & 0xFFFF);
        Assert.Equal(Cpus * Rounds, (long)*guest.Word(Data + 0x140));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_locked_update_across_pages_is_atomic_against_plain_accesses_too(string engine)
    {
        // The first vCPU writes the two halves of a page-crossing word alternately by plain stores to one of them; the
        // others add to the other by locked updates of the whole: neither may undo the other.
        const int Cpus = 3, Rounds = 2_000;
        const ulong Cross = Data + 0x1000 - 4;
        using var guest = new SmpGuest(engine, Cpus);
        guest.Run(a =>
        {
            Label others = a.CreateLabel("others"), plain = a.CreateLabel("plain"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end"), add = a.CreateLabel("add");
            a.mov(rsi, Cross);
            a.mov(rbx, Errors);
            a.test(edi, edi);
            a.jne(others);
            // Only this vCPU changes the low half: it must always read back what it wrote.
            a.mov(r15d, 1);
            a.Label(ref plain);
            a.mov(__dword_ptr[rsi], r15d);
            a.mfence();
            a.cmp(__dword_ptr[rsi], r15d);
            a.je(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.inc(r15d);
            a.mov(eax, __dword_ptr[rsi + 4]);
            a.cmp(eax, (Cpus - 1) * Rounds);
            a.jne(plain);
            a.jmp(end);
            a.Label(ref others);
            a.mov(r15d, Rounds);
            a.mov(rdx, 1UL << 32);
            a.Label(ref add);
            a.@lock.add(__qword_ptr[rsi], rdx);
            a.dec(r15d);
            a.jne(add);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
        Assert.Equal((Cpus - 1) * Rounds, (int)*guest.Word(Cross + 4));
    }

    [Theory]
    [InlineData(EngineNames.Interpreter, false)]
    [InlineData(EngineNames.Interpreter, true)]
    [InlineData(EngineNames.Translator, false)]
    [InlineData(EngineNames.Translator, true)]
    public void After_a_fence_one_of_two_vCPUs_sees_the_other(string engine, bool byLock)
    {
        const int Rounds = 3_000;
        using var guest = new SmpGuest(engine, 2);
        guest.Run(a =>
        {
            Label round = a.CreateLabel("round"), meet = a.CreateLabel("meet"), met = a.CreateLabel("met"), leave = a.CreateLabel("leave"), left = a.CreateLabel("left"), fine = a.CreateLabel("fine");
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.mov(rdx, rdi);
            a.xor(rdx, 1);
            a.mov(r15d, 1);
            a.Label(ref round);
            // x[me] = round; fence; result[me] = x[other].
            Meet(a, 0x1000, meet, met);
            a.mov(__[rsi + (rdi * 8)], r15);
            if (byLock)
                a.@lock.or(__dword_ptr[rsp - 64], 0);
            else
                a.mfence();
            a.mov(rax, __[rsi + (rdx * 8)]);
            a.mov(__[rsi + (rdi * 8) + 0x100], rax);
            Meet(a, 0x1040, leave, left);
            a.mov(rax, __[rsi + 0x100]);
            a.cmp(rax, r15);
            a.je(fine);
            a.mov(rax, __[rsi + 0x108]);
            a.cmp(rax, r15);
            a.je(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.inc(r15);
            a.cmp(r15d, Rounds);
            a.jne(round);
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Code_that_another_vCPU_has_written_is_what_runs(string engine)
    {
        const int Cpus = 3, Rounds = 2_000, Pages = 16;
        const ulong Functions = 0x600000;
        using var guest = new SmpGuest(engine, Cpus);
        for (ulong i = 0; i < Pages; i++)
            guest.Place(Functions + (i << 12), WriteFunction);
        guest.Run(a =>
        {
            Label readers = a.CreateLabel("readers"), write = a.CreateLabel("write"), read = a.CreateLabel("read"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end");
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.mov(rbp, Functions);
            a.test(edi, edi);
            a.jne(readers);
            a.mov(r15d, 1);
            a.Label(ref write);
            a.mov(ecx, r15d);
            a.and(ecx, Pages - 1);
            a.shl(ecx, 12);
            // MOV EAX, imm32 is at 3 in the function: one aligned store changes its operand.
            a.mov(__dword_ptr[rbp + rcx + 4], r15d);
            a.mov(__dword_ptr[rsi], r15d);
            a.inc(r15d);
            a.cmp(r15d, Rounds);
            a.jbe(write);
            a.jmp(end);
            a.Label(ref readers);
            a.mov(r15d, 0);
            a.Label(ref read);
            a.mov(r15d, __dword_ptr[rsi]);
            a.xor(eax, eax);
            a.cpuid();
            a.mov(rbx, Errors);
            a.mov(ecx, r15d);
            a.and(ecx, Pages - 1);
            a.shl(ecx, 12);
            a.lea(rdx, __[rbp + rcx]);
            a.call(rdx);
            a.cmp(eax, r15d);
            a.jae(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.cmp(r15d, Rounds);
            a.jne(read);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Interrupts_between_halted_vCPUs_are_never_lost(string engine)
    {
        const int Rounds = 2_000;
        using var guest = new SmpGuest(engine, 2);
        guest.SetHandler(Vector, 0x180000, a =>
        {
            a.inc(r15d);
            SmpGuest.EndOfInterrupt(a);
            a.iretq();
        });
        guest.Run(a =>
        {
            Label ready = a.CreateLabel("ready"), isReady = a.CreateLabel("isReady"), wait = a.CreateLabel("wait"), next = a.CreateLabel("next"), send = a.CreateLabel("send"), end = a.CreateLabel("end");
            SmpGuest.EnableApic(a);
            a.mov(rsi, Data);
            a.mov(r8, rdi);
            a.xor(r8, 1);
            a.mov(r14d, 1);
            a.mov(r15d, 0);
            Meet(a, 0x1000, ready, isReady, r14);
            a.test(edi, edi);
            a.je(send);
            a.Label(ref next);
            // STI lets HLT begin before an interrupt is taken: a wake-up can't fall between.
            a.cmp(r15d, r14d);
            a.jae(send);
            a.Label(ref wait);
            a.sti();
            a.hlt();
            a.cli();
            a.cmp(r15d, r14d);
            a.jb(wait);
            a.Label(ref send);
            SmpGuest.SendInterrupt(a, Vector);
            a.cmp(r14d, Rounds);
            a.je(end);
            a.test(edi, edi);
            Label second = a.CreateLabel("second");
            a.jne(second);
            // The first vCPU sends before it waits.
            Label firstWait = a.CreateLabel("firstWait");
            a.Label(ref firstWait);
            a.sti();
            a.hlt();
            a.cli();
            a.cmp(r15d, r14d);
            a.jb(firstWait);
            a.inc(r14d);
            a.jmp(send);
            a.Label(ref second);
            a.inc(r14d);
            a.jmp(next);
            a.Label(ref end);
            a.mov(__[rsi + (rdi * 8) + 0x200], r15);
        });
        // The first has sent its last without waiting for the answer.
        Assert.Equal((ulong)Rounds - 1, *guest.Word(Data + 0x200));
        Assert.Equal((ulong)Rounds, *guest.Word(Data + 0x208));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void After_a_shoot_down_no_vCPU_uses_the_old_translation(string engine)
    {
        const int Cpus = 4, Rounds = 300;
        const ulong Page = SmpGuest.SmallPages, Entry = SmpGuest.SmallPageTable, FirstFrame = 0x700000;
        using var guest = new SmpGuest(engine, Cpus);
        guest.SetAcknowledge(Vector, 0x180000, Data + 0x40, a =>
        {
            a.mov(r10, Page);
            a.invlpg(__byte_ptr[r10]);
        });
        *guest.Word(Entry) = FirstFrame | 3;
        guest.Run(a =>
        {
            Label ready = a.CreateLabel("ready"), isReady = a.CreateLabel("isReady"), readers = a.CreateLabel("readers"), change = a.CreateLabel("change"), read = a.CreateLabel("read"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end");
            SmpGuest.EnableApic(a);
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.mov(rbp, Page);
            a.mov(r14d, 1);
            Meet(a, 0x1000, ready, isReady, r14, Cpus);
            a.test(edi, edi);
            a.jne(readers);
            a.mov(r15d, 1);
            a.Label(ref change);
            // Frame r15 & 1 gets the number of the round and becomes the page.
            a.mov(eax, r15d);
            a.and(eax, 1);
            a.shl(eax, 12);
            a.add(rax, (int)FirstFrame);
            a.mov(__[rax], r15);
            a.or(rax, 3);
            a.mov(rdx, Entry);
            a.mov(__[rdx], rax);
            a.invlpg(__byte_ptr[rbp]);
            SmpGuest.InterruptOthers(a, Cpus, Vector, 0x40);
            a.mov(__[rsi], r15);
            a.inc(r15d);
            a.cmp(r15d, Rounds);
            a.jbe(change);
            a.jmp(end);
            a.Label(ref readers);
            a.sti();
            a.Label(ref read);
            a.mov(r15, __[rsi]);
            a.mov(rax, __[rbp]);
            a.cmp(rax, r15);
            a.jae(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            SmpGuest.PauseNowAndThen(a);
            a.cmp(r15d, Rounds);
            a.jne(read);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_page_walk_sets_no_bit_in_an_entry_that_was_just_cleared(string engine)
    {
        const int Rounds = 20_000;
        const ulong Page = SmpGuest.SmallPages, Entry = SmpGuest.SmallPageTable;
        using var guest = new SmpGuest(engine, 2);
        // #PF: go on after the access, which is three bytes long.
        guest.SetHandler(14, 0x180000, a =>
        {
            a.add(rsp, 8);
            a.add(__qword_ptr[rsp], 3);
            a.iretq();
        });
        guest.Run(a =>
        {
            Label touch = a.CreateLabel("touch"), touchNext = a.CreateLabel("touchNext"), clear = a.CreateLabel("clear"), wait = a.CreateLabel("wait"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end");
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.mov(rbp, Page);
            a.mov(rdx, Entry);
            a.test(edi, edi);
            a.jne(touch);
            a.mov(r15d, Rounds);
            a.Label(ref clear);
            a.mov(eax, 0x700003);
            a.mov(__[rdx], rax);
            a.xor(eax, eax);
            a.xchg(__qword_ptr[rdx], rax);
            a.mov(ecx, 40);
            a.Label(ref wait);
            a.dec(ecx);
            a.jne(wait);
            a.cmp(__qword_ptr[rdx], 0);
            a.je(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.dec(r15d);
            a.jne(clear);
            a.mov(__qword_ptr[rsi], 1);
            a.jmp(end);
            a.Label(ref touch);
            a.xor(eax, eax);
            a.Label(ref touchNext);
            a.invlpg(__byte_ptr[rbp]);
            a.mov(__dword_ptr[rbp], eax);
            a.cmp(__qword_ptr[rsi], 0);
            a.je(touchNext);
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Application_processors_wait_for_their_start_up_interrupt(string engine)
    {
        const int Cpus = 4;
        const ulong Trampoline = 0x8000, Count = 0x9000;
        using var guest = new SmpGuest(engine, Cpus);
        guest.Place(
            Trampoline,
            a =>
            {
                a.xor(ax, ax);
                a.mov(ds, ax);
                a.@lock.inc(__word_ptr[(long)Count]);
                a.cli();
                a.hlt();
            },
            bitness: 16);
        guest.RunFirst(
            a =>
            {
                Label wait = a.CreateLabel("wait");
                SmpGuest.EnableApic(a);
                // INIT, then two start-up IPIs to all but self; the second finds nobody waiting.
                a.mov(__dword_ptr[r9 + 0x300], 0xC4500);
                a.mov(__dword_ptr[r9 + 0x300], 0xC4600 | (int)(Trampoline >> 12));
                a.mov(__dword_ptr[r9 + 0x300], 0xC4600 | (int)(Trampoline >> 12));
                a.mov(rsi, Count);
                a.Label(ref wait);
                a.pause();
                a.cmp(__word_ptr[rsi], Cpus - 1);
                a.jne(wait);
                a.hlt();
            },
            _ => Volatile.Read(ref *(ushort*)guest.Word(Count)) == Cpus - 1);
        Assert.Equal(Cpus - 1, (ushort)*guest.Word(Count));
    }

    // A barrier that needs no reset: everyone adds one and waits for the sum of the round. RAX is used.
    private static void Meet(Assembler a, int offset, Label wait, Label done, AssemblerRegister64? round = null, int cpus = 2)
    {
        a.@lock.inc(__qword_ptr[rsi + offset]);
        a.Label(ref wait);
        a.mov(rax, __[rsi + offset]);
        a.imul(rcx, round ?? r15, cpus);
        a.cmp(rax, rcx);
        a.jae(done);
        a.pause();
        a.jmp(wait);
        a.Label(ref done);
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
