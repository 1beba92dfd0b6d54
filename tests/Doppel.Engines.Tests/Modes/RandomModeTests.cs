using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Modes;

/// <summary>
/// Random programs in every mode but 64-bit mode on the interpreter and on the translator from the same random state, faults
/// included. The seed is printed; DOPPEL_TEST_SEED repeats a run.
/// </summary>
public sealed unsafe class RandomModeTests(ITestOutputHelper output)
{
    private static readonly (uint Start, int Length)[] Windows =
        [(ModeSetup.DataStart - 0x1000, ModeSetup.DataBytes + 0x1000), (ModeSetup.StackMiddle - 0x1000, 0x2000)];

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly byte[] _values = new byte[0x8000];
    private Random _random = new(0);
    private int _seed;

    public static TheoryData<int> Setups => [.. Enumerable.Range(0, ModeSetup.All.Length)];

    [Theory]
    [MemberData(nameof(Setups))]
    public void Random_programs_leave_the_same_state_on_both_engines(int setup) => Check(ModeSetup.All[setup], programs: 400, isCounted: false);

    [Theory]
    [MemberData(nameof(Setups))]
    public void Random_programs_stop_at_the_same_instruction_with_a_budget(int setup) => Check(ModeSetup.All[setup], programs: 150, isCounted: true);

    private void Check(ModeSetup setup, int programs, bool isCounted)
    {
        _seed = TestSeed.Take(output, setup.Name);
        _random = new Random(_seed);
        using var reference = new ModeGuest("interpreter", isCounted);
        using var tested = new ModeGuest("translator", isCounted);
        var program = new ModeProgram(_random, X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x68747541);
        ulong retired = 0;
        uint offset = 0;
        for (int i = 0; i < programs; i++)
        {
            offset = (offset + (uint)_random.Next(900)) % 0xE000;
            uint address = ModeSetup.Code - 0x800 + offset;
            byte[] code = program.Make(setup, _random.Next(1, 40));
            Prepare(setup, program, address, code, reference, tested);
            if (isCounted)
                RunInPieces(setup, code, address, reference, tested);
            else
                _ = RunBoth(ulong.MaxValue, setup, code, address, reference, tested);
            Compare(setup, code, address, reference, tested);
            retired += reference.State->InstructionsRetired;
        }

        TranslationStatistics statistics = ((TranslatorEngine)tested.Engine).Statistics;
        output.WriteLine($"{retired} instructions, {program.Seen.Count} different; {statistics.Instructions} translated");
        Assert.True(program.Seen.Count > programs / 2, $"only {program.Seen.Count} different instructions were executed");
        Assert.True(statistics.Instructions > retired / 2, $"only {statistics.Instructions} of {retired} instructions were translated");
    }

    private void RunInPieces(ModeSetup setup, byte[] code, uint address, ModeGuest reference, ModeGuest tested)
    {
        ExitReason reason = ExitReason.Budget;
        while (reason == ExitReason.Budget)
        {
            ulong budget = (ulong)_random.Next(1, 30);
            reason = RunBoth(budget, setup, code, address, reference, tested);
            Compare(setup, code, address, reference, tested);
        }
    }

    // A program that never ends is stopped, so that it can be told.
    private ExitReason RunBoth(ulong budget, ModeSetup setup, byte[] code, uint address, ModeGuest reference, ModeGuest tested)
    {
        using var alarm = new Timer(_ => Array.ForEach([reference, tested], guest => guest.Cpu.Signal(PendingEvents.Kick)), null, Patience, Patience);
        ExitReason expected = reference.Engine.Run(budget);
        ExitReason reason = tested.Engine.Run(budget);
        if (reason != expected || reason == ExitReason.Kick)
            Assert.Fail($"{setup}, seed {_seed}: {expected} at {reference.State->Rip:x}, {reason} at {tested.State->Rip:x}:\n{Listing(setup, code, address)}");
        return reason;
    }

    private static string Listing(ModeSetup setup, byte[] code, uint address) =>
        string.Join('\n', GuestCode.Disassemble(code, address - setup.CodeBase, setup.Bits, 200));

    private void Prepare(ModeSetup setup, ModeProgram program, uint address, byte[] code, params ModeGuest[] guests)
    {
        foreach (ModeGuest guest in guests)
        {
            Assert.True(guest.Memory.TryWrite(address, code));
            guest.Start(setup, address);
        }

        for (int i = 0; i < 16; i++)
        {
            uint general = program.Value();
            ulong low = (ulong)_random.NextInt64(), high = (ulong)_random.NextInt64();
            foreach (ModeGuest guest in guests)
            {
                guest.State->Gpr[i] = general;
                ((ulong*)guest.State->Xmm(i))[0] = low;
                ((ulong*)guest.State->Xmm(i))[1] = high;
                ((ulong*)guest.State->YmmHigh(i))[0] = high;
                ((ulong*)guest.State->YmmHigh(i))[1] = low;
            }
        }

        ulong flags = (ulong)_random.Next() & CpuFlags.Status;
        foreach (ModeGuest guest in guests)
        {
            guest.State->Gpr[4] = ModeSetup.StackMiddle - setup.Stack.Base;
            guest.State->StatusFlags = flags;
            guest.State->Mxcsr = 0x1F80;
            *(ulong*)(guest.State->XsaveArea + 512) = 7;
        }

        foreach ((uint start, int length) in Windows)
        {
            Span<byte> values = _values.AsSpan(0, length);
            _random.NextBytes(values);
            foreach (ModeGuest guest in guests)
                Assert.True(guest.Memory.TryWrite(start, values));
        }
    }

    private void Compare(ModeSetup setup, byte[] code, uint address, ModeGuest reference, ModeGuest tested)
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

        var memory = new ReadOnlySpan<byte>(reference.Memory.Base, ModeGuest.RamSize);
        int at = memory.CommonPrefixLength(new ReadOnlySpan<byte>(tested.Memory.Base, ModeGuest.RamSize));
        if (at != ModeGuest.RamSize)
            different.AppendLine(CultureInfo.InvariantCulture, $"memory at {at:x}");
        if (different.Length != 0)
            Assert.Fail($"{setup}, seed {_seed}, after {reference.Snapshot.InstructionsRetired} instructions, at {reference.Snapshot.Rip:x}:\n{different}\n{Listing(setup, code, address)}");
    }
}
