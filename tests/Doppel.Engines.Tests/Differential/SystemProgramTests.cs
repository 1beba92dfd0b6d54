using System.Globalization;
using System.Text;
using Doppel.Engines.Tests.Guests;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// Random programs of system instructions (<see cref="SystemProgram"/>) on the interpreter and on the translator. The seed
/// is printed; DOPPEL_TEST_SEED repeats a run.
/// </summary>
public sealed unsafe class SystemProgramTests(ITestOutputHelper output)
{
    private const int Programs = 600;

    // Stacks, the pages that programs touch, their table.
    private static readonly (ulong Start, int Length)[] Windows =
        [(EngineGuest.Stack - 0x21000, 0x21000), (EngineGuest.SmallPages, 0x10000), (EngineGuest.Tables + 0x3000, 0x80)];

    [Fact]
    public void Random_system_programs_end_alike_on_both_engines()
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        using var reference = new EngineGuest("interpreter");
        using var tested = new EngineGuest("translator");
        int completed = 0;
        for (int i = 0; i < Programs; i++)
        {
            var program = new SystemProgram(random);
            program.Write(reference, tested);
            foreach (EngineGuest guest in new[] { reference, tested })
            {
                program.Enter(guest);
                guest.RunToHalt();
            }

            Compare($"seed {seed}, program {i}", reference, tested);
            if (reference.Vector < 0)
                completed++;
        }

        TranslationStatistics statistics = ((TranslatorEngine)tested.Engine).Statistics;
        output.WriteLine($"{completed} of {Programs} ran to their end; {statistics.Instructions} instructions translated; exits {string.Join(' ', statistics.Exits)}");
        Assert.True(completed > Programs / 4, $"only {completed} of {Programs} programs ran to their end");
    }

    private static void Compare(string what, EngineGuest reference, EngineGuest tested)
    {
        CpuSnapshot a = CpuSnapshot.Take(reference.Cpu), b = CpuSnapshot.Take(tested.Cpu);
        var different = new StringBuilder();
        if (a.InstructionsRetired != b.InstructionsRetired)
            different.AppendLine(CultureInfo.InvariantCulture, $"retired: {a.InstructionsRetired}, not {b.InstructionsRetired}");
        if (!a.Matches(b))
        {
            foreach ((RegisterValue x, RegisterValue y) in a.List().Zip(b.List()))
            {
                if (x != y)
                    different.AppendLine(CultureInfo.InvariantCulture, $"{x.Name}: {x.Value:x}, not {y.Value:x}");
            }
        }

        foreach ((ulong start, int length) in Windows)
        {
            int at = reference.Read(start, length).AsSpan().CommonPrefixLength(tested.Read(start, length));
            if (at != length)
                different.AppendLine(CultureInfo.InvariantCulture, $"memory at {start + (ulong)at:x}");
        }

        if (different.Length != 0)
            Assert.Fail($"{what}:\n{different}\n{string.Join('\n', GuestCode.Disassemble(reference.Read(EngineGuest.Code, 200), EngineGuest.Code, 64, 60))}");
    }
}
