using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Smp;

/// <summary>What the memory order of the architecture promises to vCPUs that use few locks (Intel SDM vol. 3, 9.2 and 9.1).</summary>
public sealed unsafe class MemoryOrderTests
{
    private const ulong Data = SmpGuest.Data;
    private const ulong Errors = Data + 0xF000;

    public static TheoryData<string> Engines => SmpGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void Plain_stores_are_seen_in_their_order(string engine)
    {
        const int Rounds = 200_000;
        using var guest = new SmpGuest(engine, 2);
        guest.Run(a =>
        {
            Label reader = a.CreateLabel("reader"), write = a.CreateLabel("write"), read = a.CreateLabel("read"), fine = a.CreateLabel("fine"), end = a.CreateLabel("end");
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.test(edi, edi);
            a.jne(reader);
            // The message, then its number; the two lie in different pages.
            a.mov(r15d, 1);
            a.Label(ref write);
            a.mov(__[rsi], r15);
            a.mov(__[rsi + 0x1008], r15);
            a.inc(r15d);
            a.cmp(r15d, Rounds);
            a.jbe(write);
            a.jmp(end);
            a.Label(ref reader);
            a.mov(rax, __[rsi + 0x1008]);
            a.mov(rcx, __[rsi]);
            a.cmp(rcx, rax);
            a.jae(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.cmp(eax, Rounds);
            a.jne(reader);
            a.Label(ref read);
            a.nop();
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(0ul, *guest.Word(Errors));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Sixteen_bytes_are_compared_and_exchanged_as_one(string engine)
    {
        const int Cpus = 3, Rounds = 10_000;
        using var guest = new SmpGuest(engine, Cpus);
        guest.Run(a =>
        {
            Label next = a.CreateLabel("next"), retry = a.CreateLabel("retry"), same = a.CreateLabel("same");
            a.mov(rsi, Data);
            a.mov(r14, Errors);
            a.mov(r15d, Rounds);
            a.Label(ref next);
            a.mov(rax, __[rsi]);
            a.mov(rdx, __[rsi + 8]);
            a.Label(ref retry);
            // Both halves go up together; what a failed exchange reads must be a whole.
            a.lea(rbx, __[rax + 1]);
            a.lea(rcx, __[rdx + 1]);
            a.@lock.cmpxchg16b(__xmmword_ptr[rsi]);
            Label done = a.CreateLabel("done");
            a.je(done);
            a.cmp(rax, rdx);
            a.je(same);
            a.@lock.inc(__qword_ptr[r14]);
            a.Label(ref same);
            a.jmp(retry);
            a.Label(ref done);
            a.dec(r15d);
            a.jne(next);
        });
        Assert.Equal(0ul, *guest.Word(Errors));
        Assert.Equal((ulong)(Cpus * Rounds), *guest.Word(Data));
        Assert.Equal((ulong)(Cpus * Rounds), *guest.Word(Data + 8));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Locked_updates_of_every_width_and_place_lose_nothing(string engine)
    {
        // Across a cache line, across a page, in bits and bytes of one word: all at once.
        const int Cpus = 4, Rounds = 4_000;
        const ulong Line = Data + 0x40 - 3, Page = Data + 0x1000 - 2, Bits = Data + 0x200;
        using var guest = new SmpGuest(engine, Cpus);
        guest.Run(a =>
        {
            Label next = a.CreateLabel("next"), set = a.CreateLabel("set"), fine = a.CreateLabel("fine");
            a.mov(rsi, Data);
            a.mov(rbx, Errors);
            a.mov(r12, Line);
            a.mov(r13, Page);
            a.mov(r14, Bits);
            a.mov(r15d, Rounds);
            a.Label(ref next);
            a.@lock.add(__dword_ptr[r12], 1);
            a.@lock.inc(__dword_ptr[r13]);
            a.@lock.add(__byte_ptr[rsi + rdi + 0x100], 1);
            // Each has a bit of its own in one word, sets it and clears it.
            a.@lock.bts(__dword_ptr[r14], edi);
            a.jae(set);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref set);
            a.@lock.btr(__dword_ptr[r14], edi);
            a.jb(fine);
            a.@lock.inc(__qword_ptr[rbx]);
            a.Label(ref fine);
            a.dec(r15d);
            a.jne(next);
        });
        Assert.Equal(0ul, *guest.Word(Errors));
        Assert.Equal(Cpus * Rounds, *(int*)guest.Word(Line));
        Assert.Equal(Cpus * Rounds, *(int*)guest.Word(Page));
        Assert.Equal(0, *(int*)guest.Word(Bits));
        Assert.Equal([Rounds & 0xFF, Rounds & 0xFF, Rounds & 0xFF, Rounds & 0xFF], Enumerable.Range(0, Cpus).Select(i => (int)*((byte*)guest.Word(Data + 0x100) + i)).ToArray());
    }
}
