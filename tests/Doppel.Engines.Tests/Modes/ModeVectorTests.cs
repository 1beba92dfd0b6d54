using Doppel.Machine.Cpu;

namespace Doppel.Engines.Tests.Modes;

/// <summary>Vector instructions whose VEX prefix means less outside 64-bit mode than in it.</summary>
public sealed unsafe class ModeVectorTests
{
    /// <summary>
    /// VPCMPESTRI with VEX.W set takes its lengths from EAX and EDX all the same (Intel SDM vol. 2, PCMPESTRI: REX.W and VEX.W count
    /// in 64-bit mode): -3 and -2 are short strings, where their zero-extended 64 bits would be long ones.
    /// </summary>
    [Theory]
    [InlineData("interpreter")]
    [InlineData("translator")]
    public void Lengths_of_strings_are_32_bits_whatever_VEX_W_says(string engine)
    {
        ModeSetup setup = ModeSetup.All.Single(s => s.Name == "flat 32-bit");
        using var guest = new ModeGuest(engine, isDeterministic: false);
        Assert.True(guest.Memory.TryWrite(ModeSetup.Code, [0xC4, 0xE3, 0xF9, 0x61, 0xC1, 0x00, 0xF4]));
        guest.Start(setup, ModeSetup.Code);
        guest.State->Gpr[0] = uint.MaxValue - 2;
        guest.State->Gpr[2] = uint.MaxValue - 1;
        guest.State->Mxcsr = 0x1F80;
        *(ulong*)(guest.State->XsaveArea + 512) = 7;

        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));

        Assert.Equal(CpuFlags.Sf | CpuFlags.Zf, guest.State->Flags & (CpuFlags.Sf | CpuFlags.Zf));
    }
}
