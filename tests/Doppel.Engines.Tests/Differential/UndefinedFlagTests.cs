using Doppel.Machine.Cpu;

namespace Doppel.Engines.Tests.Differential;

/// <summary>Flags that the architecture leaves undefined are this host's on both engines, or an interrupt's frame would tell them apart.</summary>
public sealed unsafe class UndefinedFlagTests
{
    [Theory]
    [InlineData("F30FBCC3", "tzcnt eax, ebx")]
    [InlineData("F30FBDC3", "lzcnt eax, ebx")]
    [InlineData("C4E270F3CB", "blsr ecx, ebx")]
    [InlineData("C4E278F7C3", "bextr eax, ebx, eax")]
    public void They_are_the_same_on_both_engines(string hex, string instruction)
    {
        foreach (bool overflow in new[] { false, true })
        {
            // MOV AL, 7Fh or 0; ADD AL, 1: sets or clears OF.
            byte[] code = [0xB0, (byte)(overflow ? 0x7F : 0), 0x04, 0x01, .. Convert.FromHexString(hex), 0xF4];
            ulong[] flags = [.. new[] { "interpreter", "translator" }.Select(engine => Run(engine, code))];
            Assert.True(flags[0] == flags[1], $"{instruction}: {flags[0]:x} and {flags[1]:x}");
        }
    }

    private static ulong Run(string engine, byte[] code)
    {
        using var guest = new BlockGuest(engine, isDeterministic: false);
        Assert.True(guest.Memory.TryWrite(BlockGuest.Code, code));
        guest.Start(BlockGuest.Code, flushTlb: false);
        guest.State->Gpr[3] = 0x100;
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
        return guest.State->Flags;
    }
}
