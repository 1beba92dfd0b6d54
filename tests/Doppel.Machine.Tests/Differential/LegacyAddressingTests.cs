using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Tests.HostInstructions;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// Effective addresses of 32- and 16-bit code: the former are the host's with an address-size prefix, the latter those of
/// the manual's table (Intel SDM vol. 2, table 2-1).
/// </summary>
public sealed unsafe class LegacyAddressingTests : IDisposable
{
    private const ulong Code = 0x500000;
    private const ulong CodeSize = 0x8000;
    private readonly LongModeGuest _guest = new();
    private readonly Interpreter _engine;
    private readonly Random _random;
    private ulong _offset;

    public LegacyAddressingTests(ITestOutputHelper output)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        _random = new Random(seed);
        _engine = new Interpreter(_guest.Cpu);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _guest.Dispose();
    }

    [Fact]
    public void Every_32_bit_form_matches_the_host()
    {
        using var oracle = new HostOracle();
        SetCodeSize(SegmentAttributes.Big);
        for (int form = 0; form < 3 * 8 * 256; form++)
        {
            int mod = form >> 11;
            int rm = (form >> 8) & 7;
            byte sib = (byte)form;
            // Without a SIB byte one case for each form is enough, and a bare displacement is RIP-relative on the host.
            if ((rm != 4 && sib != 0) || (mod == 0 && rm == 5))
                continue;
            int reg = _random.Next(8);
            byte[] code = [0x8D, (byte)((mod << 6) | (reg << 3) | rm), .. rm == 4 ? new[] { sib } : [], .. Displacement(mod, rm == 4 ? sib & 7 : rm, 5, 4)];
            OracleRegisters expected = RandomRegisters();
            OracleRegisters actual = expected;
            byte[] hostCode = [0x67, .. code];
            oracle.Run(hostCode, ref expected);
            Run(code, ref actual);
            Assert.True((uint)expected.Gpr[reg] == (uint)actual.Gpr[reg], $"{Convert.ToHexString(code)} gives {actual.Gpr[reg]:X}, the host {expected.Gpr[reg]:X}");
        }
    }

    [Fact]
    public void Every_16_bit_form_follows_the_manual()
    {
        SetCodeSize(SegmentAttributes.None);
        for (int modRm = 0; modRm < 0xC0; modRm++)
        {
            int mod = modRm >> 6;
            int reg = (modRm >> 3) & 7;
            int rm = modRm & 7;
            byte[] displacement = Displacement(mod, rm, 6, 2);
            byte[] code = [0x8D, (byte)modRm, .. displacement];
            OracleRegisters registers = RandomRegisters();
            ulong bx = registers.Gpr[3];
            ulong bp = registers.Gpr[5];
            ulong si = registers.Gpr[6];
            ulong di = registers.Gpr[7];
            ulong expected = rm switch
            {
                0 => bx + si,
                1 => bx + di,
                2 => bp + si,
                3 => bp + di,
                4 => si,
                5 => di,
                6 => mod == 0 ? 0 : bp,
                _ => bx,
            };
            expected += displacement.Length switch { 1 => (ulong)(sbyte)displacement[0], 2 => BitConverter.ToUInt16(displacement), _ => 0 };
            ulong old = registers.Gpr[reg];
            Run(code, ref registers);
            Assert.True(((old & 0xFFFF0000) | (ushort)expected) == (uint)registers.Gpr[reg], $"{Convert.ToHexString(code)} gives {registers.Gpr[reg]:X}, not {(ushort)expected:X}");
        }
    }

    private byte[] Displacement(int mod, int @base, int bare, int size)
    {
        byte[] displacement = new byte[mod switch { 1 => 1, 2 => size, _ => @base == bare ? size : 0 }];
        _random.NextBytes(displacement);
        return displacement;
    }

    private OracleRegisters RandomRegisters()
    {
        var registers = default(OracleRegisters);
        for (int i = 0; i < 8; i++)
            registers.Gpr[i] = (uint)_random.NextInt64();
        registers.Flags = CpuFlags.Fixed;
        return registers;
    }

    private void SetCodeSize(SegmentAttributes size)
    {
        _guest.State->Cs.Attributes = (_guest.State->Cs.Attributes & ~(SegmentAttributes.Long | SegmentAttributes.Big)) | size;
        _guest.State->Cs.Base = Code;
        _guest.Cpu.ModeChanged();
    }

    private void Run(byte[] code, ref OracleRegisters registers)
    {
        CpuState* s = _guest.State;
        _offset = (_offset + 23) % CodeSize;
        Assert.True(_guest.Cpu.Physical.Memory.TryWrite(Code + _offset, code));
        for (int i = 0; i < 8; i++)
            s->Gpr[i] = registers.Gpr[i];
        s->Flags = registers.Flags;
        s->Rip = _offset;
        Assert.Equal(ExitReason.Budget, _engine.Run(1));
        Assert.Equal(_offset + (ulong)code.Length, s->Rip);
        for (int i = 0; i < 8; i++)
            registers.Gpr[i] = s->Gpr[i];
    }
}
