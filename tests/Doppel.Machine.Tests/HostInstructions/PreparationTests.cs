using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.HostInstructions;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.HostInstructions;

public sealed unsafe class PreparationTests(ITestOutputHelper output)
{
    /// <summary>What a guest can write down must never be more than a guest exception.</summary>
    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Any_bytes_that_decode_can_be_prepared_and_executed(int bitness)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var fixture = new HostInstructionFixture();
        if (bitness != 64)
        {
            fixture.State->Cs.Attributes &= ~SegmentAttributes.Long;
            fixture.Guest.Cpu.ModeChanged();
        }

        byte[] bytes = new byte[15];
        var seen = new HashSet<Code>();
        int faults = 0;
        for (int i = 0; i < 150_000; i++)
        {
            Fill(random, bytes);
            var decoder = Decoder.Create(bitness, new ByteArrayCodeReader(bytes));
            Instruction instruction = decoder.Decode();
            if (instruction.IsInvalid || !HostInstructionExecutor.Handles(instruction))
                continue;
            seen.Add(instruction.Code);
            int id = fixture.Executor.Prepare(instruction);
            random.NextBytes(new Span<byte>(fixture.Area, 512));
            random.NextBytes(new Span<byte>(fixture.State->Gpr, 128));
            try
            {
                ulong address = HostInstructionFixture.Data + (ulong)(random.Next(4) == 0 ? random.Next(0x1000) : 64 * random.Next(32));
                fixture.Executor.Execute(id, address);
            }
            catch (GuestFault)
            {
                faults++;
            }
        }

        output.WriteLine($"{seen.Count} different instructions, {faults} faults");
        Assert.True(seen.Count > 900, $"only {seen.Count} different instructions");
        Assert.InRange(faults, 100, 150_000);
    }

    private static void Fill(Random random, byte[] bytes)
    {
        random.NextBytes(bytes);
        ReadOnlySpan<byte> prefixes = [0x66, 0xF2, 0xF3, 0x67, 0xF0, 0x2E, 0x36, 0x64];
        int position = 0;
        while (random.Next(3) == 0 && position < 4)
            bytes[position++] = prefixes[random.Next(prefixes.Length)];
        switch (random.Next(4))
        {
            case 0:
                bytes[position] = (byte)(0xD8 + random.Next(8));
                break;
            case 1:
                bytes[position] = 0xC4;
                bytes[position + 1] = (byte)(0xC0 | (random.Next(2) << 5) | (1 + random.Next(3)));
                break;
            case 2:
                bytes[position] = 0x0F;
                break;
            default:
                bytes[position] = 0x0F;
                bytes[position + 1] = (byte)(random.Next(2) == 0 ? 0x38 : 0x3A);
                break;
        }
    }
}
