using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Translator;

/// <summary>Instructions that begin in one page and end in the next.</summary>
public sealed class CrossingTests
{
    private const int Turns = 1000;
    private const ulong SecondPage = EngineGuest.SmallPages + 0x5000;
    private const ulong Crossing = SecondPage - 2;
    // Two pages so far apart share an entry of the TLB.
    private const ulong Alias = SecondPage + (TlbLayout.HalfSize << 12);
    private const ulong SecondPageEntry = EngineGuest.Tables + 0x3000 + (8 * ((SecondPage - EngineGuest.SmallPages) >> 12));

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void They_stay_translated_when_data_takes_their_second_pages_place_in_the_TLB(string engine)
    {
        using EngineGuest guest = Create(engine);
        guest.Write64(EngineGuest.Tables + 0x2000 + (8 * (Alias >> 21)), EngineGuest.Data | 0x87);
        guest.Run(a =>
        {
            Label turn = a.CreateLabel();
            a.mov(edx, Turns);
            a.mov(esi, (int)Alias);
            a.mov(ebx, (int)Crossing);
            a.Label(ref turn);
            a.mov(rcx, __qword_ptr[rsi]);
            a.call(rbx);
            a.dec(edx);
            a.jne(turn);
            a.hlt();
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal((ulong)Turns, guest.Rax);
        Assert.True(guest.Engine.GetStatistics().Exits.Sum(exit => (long)exit.Count) < Turns / 2, string.Join(", ", guest.Engine.GetStatistics().Exits.Select(exit => $"{exit.Count} {exit.Reason}")));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public unsafe void A_second_page_that_has_gone_faults_at_the_instruction_with_its_own_address(string engine)
    {
        using EngineGuest guest = Create(engine);
        guest.Run(a =>
        {
            Label turn = a.CreateLabel();
            a.mov(edx, Turns);
            a.mov(ebx, (int)Crossing);
            a.Label(ref turn);
            a.call(rbx);
            a.dec(edx);
            a.jne(turn);
            a.mov(__qword_ptr[SecondPageEntry], 0);
            a.invlpg(__byte_ptr[SecondPage]);
            a.mov(edx, Turns);
            a.jmp(turn);
        });
        Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
        Assert.Equal((SecondPage, Crossing, 0UL), (guest.State->Cr2, guest.Read64(guest.Rsp + 8), guest.Read64(guest.Rsp)));
        Assert.Equal((ulong)Turns, guest.Rax);
        // Two before the first turn, five in each, four between, the call, and the HLT.
        Assert.Equal(2UL + (5 * Turns) + 4 + 2, guest.State->InstructionsRetired);
    }

    // A routine at Crossing: ADD EAX, 1 by its long form; RET.
    private static EngineGuest Create(string engine)
    {
        var guest = new EngineGuest(engine);
        guest.Write(Crossing, [0x81, 0xC0, 1, 0, 0, 0, 0xC3]);
        return guest;
    }
}
