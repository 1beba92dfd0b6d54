using Doppel.Machine.Cpu.HostInstructions;
using Doppel.Machine.Cpu.Models;
using Iced.Intel;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// Random encodings of x87, MMX, SSE to AVX2, BMI and the rest, executed by the engine and by the host with the whole
/// extended state loaded: shows that a stub loads and stores what the instruction really uses.
/// </summary>
public sealed class ExtensionTests(ITestOutputHelper output)
{
    private readonly HashSet<Code> _seen = [];

    [Fact]
    public void X87_matches_the_host()
    {
        Check(8000, (random, code) =>
        {
            code.Add((byte)(0xD8 + random.Next(8)));
            AddModRm(random, code);
        });
        Assert.True(_seen.Count > 120, $"only {_seen.Count} different x87 instructions were executed");
    }

    [Fact]
    public void Legacy_encodings_match_the_host()
    {
        Check(20000, (random, code) =>
        {
            byte[][] prefixes = [[], [0x66], [0xF3], [0xF2]];
            code.AddRange(prefixes[random.Next(4)]);
            if (random.Next(2) == 0)
                code.Add((byte)(0x40 + random.Next(16)));
            code.Add(0x0F);
            int map = random.Next(4);
            if (map >= 2)
                code.Add((byte)(map == 2 ? 0x38 : 0x3A));
            code.Add((byte)random.Next(map == 3 ? 0x64 : 256));
            AddModRm(random, code);
            code.Add((byte)random.Next(256));
        });
        Assert.True(_seen.Count > 350, $"only {_seen.Count} different instructions were executed");
    }

    [Fact]
    public void Vex_encodings_match_the_host()
    {
        Check(25000, (random, code) =>
        {
            int map = 1 + random.Next(3);
            code.AddRange([0xC4, (byte)((random.Next(8) << 5) | map), (byte)random.Next(256), (byte)random.Next(256)]);
            AddModRm(random, code);
            code.Add((byte)random.Next(256));
        });
        Assert.True(_seen.Count > 500, $"only {_seen.Count} different instructions were executed");
    }

    private void Check(int cases, Action<Random, List<byte>> make)
    {
        using var runner = new DifferentialRunner(output);
        Random random = runner.Case.Random;
        var code = new List<byte>();
        for (int done = 0; done < cases;)
        {
            code.Clear();
            make(random, code);
            var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(code.ToArray()), CpuModels.Host.DecoderOptions);
            Instruction instruction = decoder.Decode();
            if (instruction.IsInvalid || !HostInstructionExecutor.Handles(instruction) || !CpuModels.Host.Allows(instruction) || IsExcluded(instruction.Mnemonic))
                continue;
            if (!runner.TryCode(code.GetRange(0, instruction.Length).ToArray(), Prepare))
                continue;
            _seen.Add(instruction.Code);
            done++;
        }

        output.WriteLine($"{_seen.Count} different instructions");
    }

    // What depends on the address of the code, or loads control state that could unmask exceptions on the host.
    private static bool IsExcluded(Mnemonic mnemonic) => mnemonic is Mnemonic.Fnstenv or Mnemonic.Fnsave or Mnemonic.Fldenv or Mnemonic.Frstor
        or Mnemonic.Fldcw or Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr;

    private static bool Prepare(TestCase test)
    {
        Instruction instruction = test.Instruction;
        RandomizeExtended(test);
        if (instruction.Mnemonic is Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu)
            test.Registers.Gpr[7] = test.RandomTarget;
        if (instruction.IsVsib)
            return PrepareGather(test);
        for (int i = 0; i < instruction.OpCount; i++)
        {
            // Aligned, or the host would fault where legacy SSE wants it.
            if (instruction.GetOpKind(i) == OpKind.Memory && !test.PlaceMemoryOperand(alignment: 32))
                return false;
        }

        return true;
    }

    private static bool PrepareGather(TestCase test)
    {
        Instruction instruction = test.Instruction;
        if (!instruction.MemoryBase.IsGPR64())
            return false;
        test[instruction.MemoryBase] = test.RandomTarget - instruction.MemoryDisplacement64;
        bool isWide = instruction.Mnemonic is Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq;
        int number = instruction.MemoryIndex.GetNumber();
        for (int i = 0; i < 8; i++)
        {
            int offset = (i < 4 ? 160 : 576 - 16) + (16 * number) + (4 * i);
            int value = isWide && (i & 1) != 0 ? 0 : test.Random.Next(100);
            Assert.True(BitConverter.TryWriteBytes(test.Extended.AsSpan(offset), value));
        }

        return true;
    }

    private static void RandomizeExtended(TestCase test)
    {
        Random random = test.Random;
        byte[] area = new byte[HostOracle.ExtendedSize];
        for (int offset = 160; offset < 832; offset += 8)
        {
            if (offset == 416)
                offset = 576;
            Assert.True(BitConverter.TryWriteBytes(area.AsSpan(offset), VectorValue(test)));
        }

        for (int register = 0; register < 8; register++)
        {
            Span<byte> st = area.AsSpan(32 + (16 * register), 10);
            random.NextBytes(st);
            int exponent = random.Next(4) switch { 0 => random.Next(0x8000), 1 => 0x7FFF * random.Next(2), _ => 0x3FFF + random.Next(-70, 70) };
            Assert.True(BitConverter.TryWriteBytes(st[8..], (ushort)(exponent | (random.Next(2) << 15))));
            if (exponent != 0 && random.Next(20) != 0)
                st[7] |= 0x80;
        }

        ushort control = (ushort)(0x7F | (random.Next(16) << 8));
        ushort status = (ushort)(random.Next(0x10000) & 0x7F7F);
        uint mxcsr = 0x1F80u | (uint)(random.Next(0x10000) & 0xE07F);
        _ = BitConverter.TryWriteBytes(area.AsSpan(0), control);
        _ = BitConverter.TryWriteBytes(area.AsSpan(2), status);
        area[4] = (byte)(random.Next(3) == 0 ? random.Next(256) : 0xFF);
        _ = BitConverter.TryWriteBytes(area.AsSpan(24), mxcsr);
        _ = BitConverter.TryWriteBytes(area.AsSpan(28), 0xFFFF);
        area[512] = 7;
        test.Extended = area;
    }

    private static ulong VectorValue(TestCase test)
    {
        Random random = test.Random;
        return random.Next(6) switch
        {
            0 => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-80, 80))),
            1 => ((ulong)BitConverter.SingleToUInt32Bits((float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-40, 40)))) << 32)
                | BitConverter.SingleToUInt32Bits((float)random.Next(-1000, 1000)),
            2 => BitConverter.DoubleToUInt64Bits(random.Next(-100, 100)),
            _ => test.RandomValue(),
        };
    }

    private static void AddModRm(Random random, List<byte> code)
    {
        byte modRm = (byte)random.Next(256);
        code.Add(modRm);
        int mod = modRm >> 6;
        if (mod == 3)
            return;
        byte sib = (byte)random.Next(256);
        if ((modRm & 7) == 4)
            code.Add(sib);
        int displacement = mod switch { 1 => 1, 2 => 4, _ => (modRm & 7) == 5 || ((modRm & 7) == 4 && (sib & 7) == 5) ? 4 : 0 };
        for (int i = 0; i < displacement; i++)
            code.Add((byte)random.Next(256));
    }
}
