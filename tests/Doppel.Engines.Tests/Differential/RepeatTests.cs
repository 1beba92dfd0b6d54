using Doppel.Engines.Translator;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Differential;

/// <summary>REP MOVS and REP STOS of every size: across pages, overlapping, into absent and read-only pages, onto code, either way.</summary>
public sealed unsafe class RepeatTests(ITestOutputHelper output)
{
    private const int Length = 0x100000;

    [Fact]
    public void Repeated_moves_and_stores_end_alike_on_both_engines()
    {
        int seed = TestSeed.Take(output);
        var random = new Random(seed);
        using var reference = new BlockGuest("interpreter", isDeterministic: true);
        using var tested = new BlockGuest("translator", isDeterministic: true);
        byte[] data = new byte[Length];
        random.NextBytes(data);
        BlockGuest[] guests = [reference, tested];
        foreach (BlockGuest guest in guests)
            Assert.True(guest.Memory.TryWrite(BlockGuest.SmallPages, data));
        int faults = 0;
        for (int i = 0; i < 2000; i++)
        {
            ulong address = BlockGuest.Code + ((ulong)i * 48);
            byte opcode = (byte)((random.Next(2) == 0 ? 0xA4 : 0xAA) | random.Next(2));
            byte[] prefixes = random.Next(4) switch { 0 => [0x66], 1 => [0x48], 2 => random.Next(4) == 0 ? [0x64] : [], _ => [] };
            byte[] code =
            [
                (byte)(random.Next(4) == 0 ? 0xFD : 0xFC),
                0x48, 0xBE, .. BitConverter.GetBytes(NextAddress(random)),
                0x48, 0xBF, .. BitConverter.GetBytes(NextAddress(random)),
                0xB9, .. BitConverter.GetBytes(random.Next(3) == 0 ? random.Next(20000) : random.Next(40)),
                0x3D, .. BitConverter.GetBytes(random.Next()),
                .. prefixes is [0x48] ? new byte[] { 0xF3, 0x48 } : [.. prefixes, (byte)(random.Next(8) == 0 ? 0xF2 : 0xF3)],
                opcode,
                0xF4,
            ];
            ulong rax = (ulong)random.NextInt64();
            foreach (BlockGuest guest in guests)
            {
                Assert.True(guest.Memory.TryWrite(address, code));
                guest.Start(address, flushTlb: i % 3 == 0);
                guest.State->Gpr[0] = rax;
                guest.State->Gpr[4] = BlockGuest.Stack + 0x1000;
            }

            Assert.Equal(reference.Engine.Run(ulong.MaxValue), tested.Engine.Run(ulong.MaxValue));
            reference.Snapshot.Update(reference.Cpu);
            tested.Snapshot.Update(tested.Cpu);
            string different = string.Join('\n', reference.Snapshot.List().Zip(tested.Snapshot.List())
                .Where(p => p.First != p.Second)
                .Select(p => $"{p.First.Name}: {p.First.Value:x}, not {p.Second.Value:x}"));
            var a = new ReadOnlySpan<byte>(reference.Memory.Base + BlockGuest.SmallPages, Length);
            int at = a.CommonPrefixLength(new ReadOnlySpan<byte>(tested.Memory.Base + BlockGuest.SmallPages, Length));
            if (different.Length != 0 || at != Length || reference.Snapshot.InstructionsRetired != tested.Snapshot.InstructionsRetired)
                Assert.Fail($"seed {seed}, memory equal up to {at:x}\n{different}\n{string.Join('\n', GuestCode.Disassemble(code, address, 64, 20))}");
            faults += reference.State->Rip < 0x10000 ? 1 : 0;
        }

        TranslationStatistics statistics = ((TranslatorEngine)tested.Engine).Statistics;
        output.WriteLine($"{faults} faults, {statistics.Exits[3]} interpreted");
        Assert.True(faults > 20, $"only {faults} faults");
        Assert.True(statistics.Exits[3] < 2 * 2000, "nothing was done by emitted code");
    }

    // The second page is absent, the fourth read-only; what lies behind is plain.
    private static ulong NextAddress(Random random) => BlockGuest.SmallPages + (ulong)(random.Next(4) switch
    {
        0 => random.Next(0x5000),
        1 => 0x10000 + random.Next(0x100),
        _ => 0x8000 + random.Next(0x60000),
    });
}
