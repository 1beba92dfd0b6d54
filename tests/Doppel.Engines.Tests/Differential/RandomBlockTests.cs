using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// Random straight-line programs on the interpreter and on the translator from the same random state: integer, MMX, SSE and
/// AVX instructions, every addressing form, faults. The seed is printed; DOPPEL_TEST_SEED repeats a run.
/// </summary>
public sealed unsafe class RandomBlockTests(ITestOutputHelper output)
{
    private static readonly (ulong Start, int Length)[] Windows =
    [
        (BlockGuest.Data, 0x2000), (BlockGuest.SmallPages, 0x1000), (BlockGuest.SmallPages + 0x2000, 0x1000),
        (BlockGuest.Stack, 0x2000), (BlockGuest.FaultStack - 0x100, 0x100),
    ];

    private readonly byte[] _values = new byte[0x2000];
    private Random _random = new(0);
    private int _seed;

    [Fact]
    public void Random_blocks_leave_the_same_state_on_both_engines() => Check(programs: 1500, isCounted: false);

    [Fact]
    public void Random_blocks_stop_at_the_same_instruction_with_a_budget() => Check(programs: 1000, isCounted: true);

    private void Check(int programs, bool isCounted)
    {
        _seed = TestSeed.Take(output);
        _random = new Random(_seed);
        using var reference = new BlockGuest("interpreter", isCounted);
        using var tested = new BlockGuest("translator", isCounted);
        var program = new RandomProgram(_random, IsAmd());
        ulong retired = 0;
        ulong offset = 0;
        for (int i = 0; i < programs; i++)
        {
            offset = (offset + (ulong)_random.Next(1500)) % 0xF0000;
            ulong address = BlockGuest.Code + offset;
            byte[] code = program.Make(address, _random.Next(1, 40));
            Prepare(program, address, code, reference, tested);
            if (isCounted)
                RunInPieces(code, address, reference, tested);
            else
                Assert.Equal(reference.Engine.Run(ulong.MaxValue), tested.Engine.Run(ulong.MaxValue));
            Compare(code, address, reference, tested);
            retired += reference.State->InstructionsRetired;
        }

        TranslationStatistics statistics = ((TranslatorEngine)tested.Engine).Statistics;
        output.WriteLine($"{retired} instructions, {program.Seen.Count} different; {statistics.Instructions} translated");
        Assert.True(program.Seen.Count > 500, $"only {program.Seen.Count} different instructions were executed");
        Assert.True(statistics.Instructions > retired / 2, $"only {statistics.Instructions} of {retired} instructions were translated");
    }

    private static bool IsAmd() => X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x68747541;

    private void RunInPieces(byte[] code, ulong address, BlockGuest reference, BlockGuest tested)
    {
        ExitReason reason = ExitReason.Budget;
        while (reason == ExitReason.Budget)
        {
            ulong budget = (ulong)_random.Next(1, 30);
            reason = reference.Engine.Run(budget);
            Assert.Equal(reason, tested.Engine.Run(budget));
            Compare(code, address, reference, tested);
        }
    }

    private void Prepare(RandomProgram program, ulong address, byte[] code, params BlockGuest[] guests)
    {
        bool flush = _random.Next(3) == 0;
        foreach (BlockGuest guest in guests)
        {
            Assert.True(guest.Memory.TryWrite(address, code));
            guest.Start(address, flush);
        }

        for (int i = 0; i < 16; i++)
        {
            ulong general = program.Value(), low = program.Value(), high = program.Value(), upper = program.Value();
            foreach (BlockGuest guest in guests)
            {
                guest.State->Gpr[i] = general;
                ((ulong*)guest.State->Xmm(i))[0] = low;
                ((ulong*)guest.State->Xmm(i))[1] = high;
                ((ulong*)guest.State->YmmHigh(i))[0] = upper;
                ((ulong*)guest.State->YmmHigh(i))[1] = low;
            }
        }

        ulong flags = ((ulong)_random.Next() & CpuFlags.Status) | CpuFlags.Fixed;
        // Precision, invalid and the other exceptions stay masked; rounding, FTZ and DAZ vary.
        uint mxcsr = 0x1F80u | ((uint)_random.Next() & 0xE040);
        foreach (BlockGuest guest in guests)
        {
            guest.State->Gpr[4] = BlockGuest.Stack + 0x1000;
            guest.State->Flags = flags;
            guest.State->Mxcsr = mxcsr;
            *(ulong*)(guest.State->XsaveArea + 512) = 7;
        }

        foreach ((ulong start, int length) in Windows)
        {
            Span<byte> values = _values.AsSpan(0, length);
            _random.NextBytes(values);
            foreach (BlockGuest guest in guests)
                Assert.True(guest.Memory.TryWrite(start, values));
        }
    }

    private void Compare(byte[] code, ulong address, BlockGuest reference, BlockGuest tested)
    {
        reference.Snapshot.Update(reference.Cpu);
        tested.Snapshot.Update(tested.Cpu);
        var different = new StringBuilder();
        if (reference.Snapshot.InstructionsRetired != tested.Snapshot.InstructionsRetired)
            different.AppendLine(CultureInfo.InvariantCulture, $"retired: {reference.Snapshot.InstructionsRetired}, not {tested.Snapshot.InstructionsRetired}");
        if (!reference.Snapshot.Matches(tested.Snapshot))
        {
            foreach ((RegisterValue a, RegisterValue b) in reference.Snapshot.List().Zip(tested.Snapshot.List()))
            {
                if (a != b)
                    different.AppendLine(CultureInfo.InvariantCulture, $"{a.Name}: {a.Value:x}, not {b.Value:x}");
            }
        }

        foreach ((ulong start, int length) in Windows)
        {
            var a = new ReadOnlySpan<byte>(reference.Memory.Base + start, length);
            int at = a.CommonPrefixLength(new ReadOnlySpan<byte>(tested.Memory.Base + start, length));
            if (at != length)
                different.AppendLine(CultureInfo.InvariantCulture, $"memory at {start + (ulong)at:x}");
        }

        if (different.Length != 0)
            Assert.Fail($"seed {_seed}, after {reference.Snapshot.InstructionsRetired} instructions, at {reference.Snapshot.Rip:x}:\n{different}\n{string.Join('\n', GuestCode.Disassemble(code, address, 64, 200))}");
    }
}
