using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Traps;

/// <summary>What STI and MOV SS hold off, and HLT (Intel SDM vol. 3, 6.8.1 and 6.8.3).</summary>
public sealed class InterruptShadowTests
{
    private const int Vector = 0x50;

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void An_interrupt_that_waits_comes_one_instruction_after_STI(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            Raise(a);
            a.sti();
            a.inc(rbx);
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal((Vector, 1UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_second_STI_does_not_extend_the_shadow(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            Raise(a);
            a.sti();
            a.sti();
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal((Vector, 0UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void STI_and_then_CLI_let_nothing_in(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            Raise(a);
            a.sti();
            a.cli();
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal((-1, 1UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void MOV_SS_holds_an_interrupt_off_for_one_instruction(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(ecx, ss);
            Raise(a);
            a.sti();
            a.mov(ss, ecx);
            a.inc(rbx);
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal((Vector, 1UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void MOV_SS_holds_an_NMI_off_too(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(eax, (int)EngineGuest.Window);
            a.mov(ss, __word_ptr[rax]);
            a.inc(rbx);
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal(((int)ExceptionVector.NonMaskable, 1UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void STI_does_not_hold_an_NMI_off(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.@out(SignalPorts.Nmi, al);
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal(((int)ExceptionVector.NonMaskable, 0UL), (guest.Vector, guest.Rbx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void MOV_SS_swallows_its_single_step_trap(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label after = a.CreateLabel();
            a.mov(ecx, ss);
            TrapFlagTests.SetTrapFlag(a);
            a.mov(ss, ecx);
            a.inc(rbx);
            a.Label(ref after);
            a.inc(rbx);
            a.hlt();
            return [after];
        });
        Assert.Equal(((int)ExceptionVector.Debug, 1UL, at[0]), (guest.Vector, guest.Rbx, guest.Read64(guest.Rsp)));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public unsafe void A_data_breakpoint_hit_by_MOV_SS_comes_after_the_next_instruction(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Write64(EngineGuest.Data, EngineGuest.Data64);
        ulong[] at = guest.Run(a =>
        {
            Label after = a.CreateLabel();
            a.mov(eax, (int)EngineGuest.Data);
            a.mov(dr1, rax);
            a.mov(ecx, 0x00F00404);
            a.mov(dr7, rcx);
            a.mov(ss, __word_ptr[rax]);
            a.inc(rbx);
            a.Label(ref after);
            a.inc(rbx);
            a.hlt();
            return [after];
        });
        Assert.Equal(((int)ExceptionVector.Debug, 1UL, at[0]), (guest.Vector, guest.Rbx, guest.Read64(guest.Rsp)));
        Assert.Equal(2UL, guest.State->Dr[6] & 0xF);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void STI_and_HLT_lose_no_interrupt_that_came_before(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label handler = a.CreateLabel();
            Raise(a);
            a.sti();
            a.hlt();
            a.cli();
            a.inc(rbx);
            a.hlt();
            a.Label(ref handler);
            a.inc(rdx);
            a.iretq();
            return [handler];
        });
        guest.EnterLong();
        guest.SetGate(Vector, at[0]);
        guest.RunToHalt();
        Assert.Equal((1UL, 1UL), (guest.Rbx, guest.Rdx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void An_interrupt_between_the_halt_and_the_wait_ends_the_wait(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.sti();
            a.hlt();
            a.inc(rbx);
            a.hlt();
        });
        Assert.Equal((-1, 0UL), (guest.Vector, guest.Rbx));
        guest.Apic.Raise(Vector);
        guest.Cpu.WaitForSignal(CancellationToken.None);
        guest.RunToHalt();
        Assert.Equal(Vector, guest.Vector);
        Assert.Equal(EngineGuest.Code + 2, guest.Read64(guest.Rsp));
    }

    private static void Raise(Assembler a)
    {
        a.mov(eax, Vector);
        a.@out(SignalPorts.Interrupt, al);
    }
}
