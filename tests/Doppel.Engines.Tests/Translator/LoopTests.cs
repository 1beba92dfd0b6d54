using Doppel.Engines.Tests.Guests;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Loops that lie in one block, which goes round without leaving.</summary>
public sealed class LoopTests
{
    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public unsafe void Every_turn_of_loops_in_loops_counts_its_instructions(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            Label outer = a.CreateLabel(), inner = a.CreateLabel(), skip = a.CreateLabel();
            a.mov(ecx, 10);
            a.Label(ref outer);
            a.mov(edx, 7);
            a.Label(ref inner);
            a.add(rax, rdx);
            a.test(edx, 1);
            a.je(skip);
            a.inc(rbx);
            a.Label(ref skip);
            a.dec(edx);
            a.jne(inner);
            a.loop(outer);
            a.hlt();
        });
        Assert.Equal((280UL, 40UL, 0UL), (guest.Rax, guest.Rbx, guest.Rcx));
        // A turn of the inner loop is 6 instructions, 5 without the increment; of the outer one 2 more.
        Assert.Equal(1UL + (10 * ((4 * 6) + (3 * 5) + 2)) + 1, guest.State->InstructionsRetired);
    }

    /// <summary>What was found out of the first turn's addresses says nothing of the next one's.</summary>
    [Theory]
    [MemberData(nameof(Engines))]
    public unsafe void Accesses_are_checked_anew_in_each_turn(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            Label turn = a.CreateLabel();
            a.mov(rsi, EngineGuest.SmallPages + 0x800);
            a.mov(rax, __qword_ptr[rsi]);
            a.add(rax, __qword_ptr[rsi + 8]);
            a.Label(ref turn);
            a.add(rax, __qword_ptr[rsi + 16]);
            a.add(rax, __qword_ptr[rsi + 24]);
            a.inc(rbx);
            a.add(rsi, 64);
            a.jmp(turn);
        });
        Assert.Equal((14, EngineGuest.AbsentPage + 16, 32UL), (guest.Vector, guest.State->Cr2, guest.Rbx));
    }

    /// <summary>A loop of a vCPU that lets no interrupt in ends when somebody else overwrites it.</summary>
    [Theory]
    [MemberData(nameof(Engines))]
    public async Task A_loop_that_another_overwrites_ends(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong way = 0;
        Task run = Task.Run(() =>
        {
            ulong[] labels = guest.Assemble(64, EngineGuest.Code, a =>
            {
                Label turn = a.CreateLabel(), back = a.CreateLabel();
                a.cli();
                a.mov(rsi, EngineGuest.Data);
                a.Label(ref turn);
                a.inc(__qword_ptr[rsi]);
                a.Label(ref back);
                a.jmp(turn);
                return [back];
            });
            Volatile.Write(ref way, labels[0]);
            guest.EnterLong();
            guest.RunToHalt();
        });
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref way) != 0 && guest.Read64(EngineGuest.Data) > 1000, TimeSpan.FromMinutes(1)));

        guest.Write(way, [0xF4, 0x90]);

        await run.WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(way + 1, RipOf(guest));
    }

    private static unsafe ulong RipOf(EngineGuest guest) => guest.State->Rip;
}
