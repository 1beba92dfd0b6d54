using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Programs;

/// <summary>
/// Random programs with loops, calls, faults and self-modification on both engines and on the host itself: every fault with
/// its registers, and all memory at the end, must be the same. The seed is printed, also that of the program that differs;
/// DOPPEL_TEST_SEED repeats a run from there.
/// </summary>
public sealed class RandomProgramTests(ITestOutputHelper output)
{
    private static readonly string[] Engines = ["interpreter", "translator"];

    [Fact]
    public void Random_programs_do_on_both_engines_what_they_do_natively() => Check(programs: 400, instructions: 3_000);

    [Fact]
    public void Long_random_programs_do_on_both_engines_what_they_do_natively() => Check(programs: 40, instructions: 300_000);

    [Fact]
    public void Random_programs_stop_at_the_same_instruction_with_a_budget() => CheckPieces(programs: 100, instructions: 3_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void Many_random_programs_stop_at_the_same_instruction_with_a_budget() => CheckPieces(programs: 3_000, instructions: 20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public void Many_random_programs_do_on_both_engines_what_they_do_natively()
    {
        Check(programs: 10_000, instructions: 3_000);
        Check(programs: 500, instructions: 500_000);
    }

    private int ChooseSeed(int programs)
    {
        return TestSeed.Take(output, below: int.MaxValue - programs);
    }

    // Both engines count, and are stopped at random instructions; the interpreter has been compared with the host above.
    private void CheckPieces(int programs, long instructions)
    {
        int seed = ChooseSeed(programs);
        using var interpreter = new ProgramGuest(Engines[0], isDeterministic: true);
        using var translator = new ProgramGuest(Engines[1], isDeterministic: true);
        for (int i = 0; i < programs; i++)
        {
            var random = new Random(seed + i);
            TestProgram program = new ProgramWriter(random, IsAmd()).Write(instructions);
            interpreter.Start(program);
            translator.Start(program);
            int largest = random.Next(2, 3000);
            ExitReason reason = ExitReason.Budget;
            for (int piece = 0; reason == ExitReason.Budget; piece++)
            {
                // Should it never end, it has by far executed what it may.
                Assert.True(interpreter.Executed < 200 * (ulong)instructions, $"DOPPEL_TEST_SEED={seed + i}: the program does not end");
                ulong budget = (ulong)random.Next(1, largest);
                reason = interpreter.RunPiece(budget);
                ExitReason other = translator.RunPiece(budget);
                if (reason != other || interpreter.Executed != translator.Executed || !interpreter.Snapshot.Matches(translator.Snapshot))
                    Assert.Fail(Describe(seed + i, piece, interpreter, translator, $"{reason} and {other}"));
            }

            Compare(seed + i, program, interpreter.Take(), translator.Take(), Engines[1]);
        }
    }

    private static string Describe(int seed, int piece, ProgramGuest interpreter, ProgramGuest translator, string reasons)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"DOPPEL_TEST_SEED={seed}, piece {piece}, {reasons}, {interpreter.Executed} and {translator.Executed} instructions\n");
        foreach ((RegisterValue a, RegisterValue b) in interpreter.Snapshot.List().Zip(translator.Snapshot.List()))
        {
            if (a != b || a.Name == "rip")
                text.Append(CultureInfo.InvariantCulture, $"{a.Name}: {a.Value:x} and {b.Value:x}\n");
        }

        return text.ToString();
    }

    private static bool IsAmd() => X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x68747541;

    private void Check(int programs, long instructions)
    {
        int seed = ChooseSeed(programs);
        using var native = new NativeProcess();
        using var interpreter = new ProgramGuest(Engines[0]);
        using var translator = new ProgramGuest(Engines[1]);
        ulong executed = 0;
        int events = 0, vectors = 0;
        for (int i = 0; i < programs; i++)
        {
            TestProgram program = new ProgramWriter(new Random(seed + i), IsAmd()).Write(instructions);
            ProgramResult expected = native.Run(program);
            for (int at = 0; at < expected.Log.Length; at += ProgramLayout.LogWords)
                vectors |= 1 << (int)expected.Log[at];
            events += expected.Log.Length / ProgramLayout.LogWords;
            Compare(seed + i, program, expected, interpreter.Run(program), Engines[0]);
            Compare(seed + i, program, expected, translator.Run(program), Engines[1]);
            executed += translator.Executed;
        }

        output.WriteLine($"{executed} instructions, {events} faults and traps, vectors {vectors:x}");
        // Each program ends with #GP; page faults are frequent.
        Assert.Equal(0x6000, vectors & 0x6000);
    }

    private static void Compare(int seed, TestProgram program, ProgramResult expected, ProgramResult actual, string engine)
    {
        var text = new StringBuilder();
        for (int at = 0; at < Math.Max(expected.Log.Length, actual.Log.Length) && text.Length == 0; at += ProgramLayout.LogWords)
        {
            for (int word = 0; word < ProgramLayout.LogWords; word++)
            {
                ulong? native = Word(expected, at + word), guest = Word(actual, at + word);
                if (native != guest)
                    text.Append(CultureInfo.InvariantCulture, $"event {at / ProgramLayout.LogWords}, {Name(word)}: {guest:x}, natively {native:x}\n");
            }

            if (text.Length != 0)
                text.Append(CultureInfo.InvariantCulture, $"natively vector {Word(expected, at)} at {Word(expected, at + 3):x}\n");
        }

        for (int i = 0; i < expected.Regions.Length; i++)
        {
            (string name, ulong address, int size) = ProgramLayout.Regions[i];
            int at = expected.Regions[i].AsSpan().CommonPrefixLength(actual.Regions[i]);
            if (at != size)
                text.Append(CultureInfo.InvariantCulture, $"{name} at {address + (ulong)at:x}: {actual.Regions[i][at]:x2}, natively {expected.Regions[i][at]:x2}\n");
        }

        if (text.Length == 0)
            return;
        byte[] code = program.Regions[0][..program.CodeLength];
        Assert.Fail($"DOPPEL_TEST_SEED={seed}, {engine}:\n{text}entry {program.Entry:x}\n{string.Join('\n', GuestCode.Disassemble(code, ProgramLayout.Code, 64, 2000))}");
    }

    // RF is in the frames of faults only, and no part of what is compared.
    private static ulong? Word(ProgramResult result, int index) =>
        index >= result.Log.Length ? null : index % ProgramLayout.LogWords == 4 ? result.Log[index] & ~CpuFlags.Rf : result.Log[index];

    private static string Name(int word) => word switch
    {
        0 => "vector",
        1 => "error code",
        2 => "address",
        3 => "rip",
        4 => "rflags",
        _ => $"register {word - 5}",
    };
}
