using Doppel.Machine.Cpu;

namespace Doppel.Machine.Tests.Execution;

public sealed unsafe class DebugTrapTests : IDisposable
{
    private const ulong Breakpoint0 = 1 << 1;
    private readonly ProgramGuest _g = new();

    public void Dispose() => _g.Dispose();

    [Fact]
    public void RF_of_a_returned_frame_is_used_up_by_the_next_instruction_also_while_no_breakpoint_is_set()
    {
        // After IRETQ with RF set comes a NOP, then a breakpoint is armed on the last NOP.
        byte[] arm =
        [
            0x90, // nop
            0xB8, 0x02, 0x04, 0x00, 0x00, // mov eax, 402h
            0x0F, 0x23, 0xF8, // mov dr7, rax
            0x90, // nop
        ];
        const ulong Start = ProgramGuest.Code + 0x100;
        _g.Load(Start, [.. arm, 0xF4]);
        _g.State->Dr[0] = Start + 9;
        ulong frame = ProgramGuest.StackTop - 40;
        _g.Write64(frame, Start);
        _g.Write64(frame + 8, ProgramGuest.CodeSelector);
        _g.Write64(frame + 16, CpuFlags.Fixed | CpuFlags.Rf);
        _g.Write64(frame + 24, ProgramGuest.StackTop);
        _g.Write64(frame + 32, ProgramGuest.DataSelector);
        _g.State->Gpr[4] = frame;
        _g.Run(0x48, 0xCF); // iretq
        Assert.Equal(ProgramGuest.HandlerOf(1) + 1, _g.State->Rip);
        Assert.Equal(Start + 9, _g.Read64(_g.State->Gpr[4]));
    }

    [Fact]
    public void A_data_breakpoint_that_MOV_SS_holds_back_is_reported_with_INT1()
    {
        // The handler counts in RBX and returns.
        _g.Load(ProgramGuest.HandlerOf(1), [0x48, 0xFF, 0xC3, 0x48, 0xCF]); // inc rbx; iretq
        _g.Write64(ProgramGuest.Data, ProgramGuest.DataSelector);
        _g.State->Dr[0] = ProgramGuest.Data;
        _g.State->Dr[7] = 0x400 | Breakpoint0 | (0b1111UL << 16); // four bytes, read or write
        _g.State->Gpr[0] = ProgramGuest.Data;
        _g.State->Gpr[3] = 0;
        _g.Run(
            0x8E, 0x10, // mov ss, [rax]
            0xF1); // int1
        Assert.Equal(1UL, _g.State->Gpr[3]);
        Assert.Equal(1UL, _g.State->Dr[6] & 0xF);
        Assert.Equal(ProgramGuest.Code + 4, _g.State->Rip);
    }
}
