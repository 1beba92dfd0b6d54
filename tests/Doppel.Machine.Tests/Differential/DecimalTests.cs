using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Tests.HostInstructions;
using Iced.Intel;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// The decimal adjustments do not exist in 64-bit mode, so the host cannot be asked; every input is compared with the
/// operation sections of the manual (Intel SDM vol. 2) instead.
/// </summary>
public sealed unsafe class DecimalTests : IDisposable
{
    private const ulong Code = 0x500000;
    private readonly LongModeGuest _guest = new();
    private readonly Interpreter _engine;
    private int _lastCode = -1;

    public DecimalTests()
    {
        _engine = new Interpreter(_guest.Cpu);
        _guest.State->Cs.Attributes = (_guest.State->Cs.Attributes & ~SegmentAttributes.Long) | SegmentAttributes.Big;
        _guest.Cpu.ModeChanged();
    }

    public void Dispose()
    {
        _engine.Dispose();
        _guest.Dispose();
    }

    [Fact]
    public void Daa_and_das_follow_the_manual_for_every_input()
    {
        for (int input = 0; input < 1024; input++)
        {
            int al = input & 0xFF;
            bool cf = (input & 0x100) != 0;
            bool af = (input & 0x200) != 0;
            Check(Mnemonic.Daa, [0x27], al, cf, af, Daa(al, cf, af));
            Check(Mnemonic.Das, [0x2F], al, cf, af, Das(al, cf, af));
        }
    }

    [Fact]
    public void Aaa_and_aas_follow_the_manual_for_every_input()
    {
        for (int input = 0; input < 0x20000; input += 5)
        {
            int ax = input & 0xFFFF;
            bool af = (input & 0x10000) != 0;
            bool adjusts = (ax & 15) > 9 || af;
            Check(Mnemonic.Aaa, [0x37], ax, false, af, ((adjusts ? ax + 0x106 : ax) & 0xFF0F, adjusts, adjusts));
            int subtracted = ((ax - 6) & 0xFFFF) - 0x100;
            Check(Mnemonic.Aas, [0x3F], ax, false, af, ((adjusts ? subtracted : ax) & 0xFF0F, adjusts, adjusts));
        }
    }

    [Fact]
    public void Aam_and_aad_follow_the_manual_for_every_base()
    {
        for (int @base = 1; @base < 256; @base++)
        {
            for (int ax = 0; ax < 0x10000; ax += 257)
            {
                int al = ax & 0xFF;
                Check(Mnemonic.Aam, [0xD4, (byte)@base], ax, false, false, (((al / @base) << 8) | (al % @base), false, false));
                Check(Mnemonic.Aad, [0xD5, (byte)@base], ax, false, false, ((al + ((ax >> 8) * @base)) & 0xFF, false, false));
            }
        }
    }

    private static (int Ax, bool Cf, bool Af) Daa(int old, bool cf, bool af)
    {
        bool adjust = (old & 15) > 9 || af;
        int al = adjust ? (old + 6) & 0xFF : old;

        if (old > 0x99 || cf)
            return ((al + 0x60) & 0xFF, true, adjust);
        return (al, false, adjust);
    }

    private static (int Ax, bool Cf, bool Af) Das(int old, bool cf, bool af)
    {
        int al = old;
        bool carry = false;
        bool adjust = (al & 15) > 9 || af;
        if (adjust)
        {
            carry = cf || al < 6;
            al = (al - 6) & 0xFF;
        }

        if (old > 0x99 || cf)
            return ((al - 0x60) & 0xFF, true, adjust);
        return (al, carry, adjust);
    }

    private void Check(Mnemonic mnemonic, ReadOnlySpan<byte> code, int ax, bool cf, bool af, (int Ax, bool Cf, bool Af) expected)
    {
        CpuState* s = _guest.State;
        if (_lastCode != (code[0] | (code.Length > 1 ? code[1] << 8 : 0)))
        {
            _lastCode = code[0] | (code.Length > 1 ? code[1] << 8 : 0);
            Assert.True(_guest.Cpu.Physical.Memory.TryWrite(Code, code));
        }

        s->Gpr[0] = 0xABCD0000 | (uint)ax;
        s->Rip = Code;
        s->Flags = CpuFlags.Fixed | (cf ? CpuFlags.Cf : 0) | (af ? CpuFlags.Af : 0);
        Assert.Equal(ExitReason.Budget, _engine.Run(1));
        int result = expected.Ax & 0xFF;
        ulong flags = CpuFlags.Fixed | (expected.Cf ? CpuFlags.Cf : 0) | (expected.Af ? CpuFlags.Af : 0)
            | (result == 0 ? CpuFlags.Zf : 0) | (result >= 0x80 ? CpuFlags.Sf : 0) | (byte.PopCount((byte)result) % 2 == 0 ? CpuFlags.Pf : 0);
        ulong compared = (CpuFlags.Status & ~UndefinedFlags.Of(mnemonic, 0, 8)) | CpuFlags.Fixed;
        string what = $"{mnemonic} {Convert.ToHexString(code)} of AX={ax:X4} CF={cf} AF={af}";
        Assert.True((0xABCD0000UL | (uint)expected.Ax) == s->Gpr[0], $"{what} gives EAX={s->Gpr[0]:X}, not AX={expected.Ax:X4}");
        Assert.True((flags & compared) == (s->Flags & compared), $"{what} gives flags {s->Flags:X}, not {flags:X}");
        Assert.Equal(Code + (ulong)code.Length, s->Rip);
    }
}
