using System.Buffers.Binary;
using Doppel.Engines.Translator;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Smp;

/// <summary>One cache of translated code for all vCPUs: what one translates the others find, and what does not fit goes.</summary>
public sealed class SharedTranslationTests
{
    private const ulong Steps = 0xA00000;
    private const int StepBytes = 16;

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Code_that_does_not_fit_is_dropped_and_translated_anew_while_others_run_it(int cpus)
    {
        const ulong Count = 32 << 10;
        const int Passes = 2;
        using var guest = new SmpGuest(EngineNames.Translator, cpus, TranslationCache.MinimumBytes);
        PlaceSteps(guest, (int)Count);
        guest.Run(a => WriteRuns(a, Passes));
        ulong evicted = 0;
        for (int i = 0; i < cpus; i++)
        {
            Assert.Equal(Count * Passes, ReadCount(guest, i));
            evicted += guest.Statistics(i).BlocksEvicted;
        }

        Assert.InRange(evicted, Count / 16, ulong.MaxValue);
    }

    [Fact]
    public void What_one_vCPU_has_translated_the_others_find()
    {
        const int Count = 2000;
        const int Passes = 50;
        using var guest = new SmpGuest(EngineNames.Translator, 2);
        PlaceSteps(guest, Count);
        // The second vCPU waits until the first has gone through.
        guest.Run(a =>
        {
            Label wait = a.CreateLabel("wait"), go = a.CreateLabel("go");
            a.test(edi, edi);
            a.je(go);
            a.mov(rsi, SmpGuest.Data);
            a.Label(ref wait);
            a.pause();
            a.cmp(__qword_ptr[rsi], 0);
            a.je(wait);
            a.Label(ref go);
            WriteRuns(a, Passes);
        });
        Assert.Equal((ulong)Count * Passes, ReadCount(guest, 0));
        Assert.Equal((ulong)Count * Passes, ReadCount(guest, 1));
        Assert.InRange(guest.Statistics(0).BlocksTranslated + guest.Statistics(1).BlocksTranslated, (ulong)Count, Count + 100UL);
    }

    private static unsafe ulong ReadCount(SmpGuest guest, int cpu) => *guest.Word(SmpGuest.Data + ((ulong)cpu * 8));

    // Each step counts and jumps to the next; the last returns.
    private static void PlaceSteps(SmpGuest guest, int count)
    {
        byte[] code = new byte[count * StepBytes];
        for (int i = 0; i < count; i++)
        {
            Span<byte> step = code.AsSpan(i * StepBytes, StepBytes);
            step.Fill(0xCC);
            // INC RAX; JMP rel32 or RET.
            step[0] = 0x48;
            step[1] = 0xFF;
            step[2] = 0xC0;
            step[3] = (byte)(i == count - 1 ? 0xC3 : 0xE9);
            if (i < count - 1)
                BinaryPrimitives.WriteInt32LittleEndian(step[4..], StepBytes - 8);
        }

        guest.PlaceBytes(Steps, code);
    }

    private static void WriteRuns(Assembler a, int passes)
    {
        Label pass = a.CreateLabel("pass");
        a.xor(eax, eax);
        a.mov(ebx, passes);
        a.mov(rdx, Steps);
        a.Label(ref pass);
        a.call(rdx);
        a.dec(ebx);
        a.jne(pass);
        a.mov(rsi, SmpGuest.Data);
        a.mov(__[rsi + (rdi * 8)], rax);
    }
}
