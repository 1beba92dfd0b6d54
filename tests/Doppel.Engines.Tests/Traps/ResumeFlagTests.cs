using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Traps;

/// <summary>RFLAGS.RF and breakpoints (Intel SDM vol. 3, 18.3.1).</summary>
public sealed class ResumeFlagTests
{
    private const int Rf = (int)CpuFlags.Rf;

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_fault_frame_has_RF_and_the_next_instruction_clears_it(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label undefined = a.CreateLabel();
            a.nop();
            a.ud2();
            // RF is set when this starts; the interrupt comes at its end.
            a.@out(SignalPorts.Interrupt, al);
            a.nop();
            a.hlt();
            a.Label(ref undefined);
            a.mov(rbx, __qword_ptr[rsp + 16]);
            a.add(__qword_ptr[rsp], 2);
            a.mov(eax, 0x50);
            a.or(__dword_ptr[rsp + 16], (int)CpuFlags.If);
            a.iretq();
            return [undefined];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.InvalidOpcode, at[0]);
        guest.RunToHalt();
        Assert.Equal(0x50, guest.Vector);
        Assert.NotEqual(0UL, guest.Rbx & CpuFlags.Rf);
        Assert.Equal(0UL, guest.Read64(guest.Rsp + 16) & CpuFlags.Rf);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void RF_masks_an_instruction_breakpoint_once(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label debug = a.CreateLabel(), target = a.CreateLabel();
            a.lea(rax, __[target]);
            a.mov(dr0, rax);
            a.mov(eax, 0x401);
            a.mov(dr7, rax);
            a.mov(ecx, 3);
            a.Label(ref target);
            a.inc(rbx);
            a.dec(ecx);
            a.jnz(target);
            a.hlt();
            a.Label(ref debug);
            a.inc(rdx);
            a.mov(rsi, __qword_ptr[rsp]);
            a.mov(rdi, __qword_ptr[rsp + 16]);
            a.or(__dword_ptr[rsp + 16], Rf);
            a.iretq();
            return [debug, target];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.Debug, at[0]);
        guest.RunToHalt();
        Assert.Equal(-1, guest.Vector);
        Assert.Equal((3UL, 3UL, at[1]), (guest.Rbx, guest.Rdx, guest.Rsi));
        Assert.Equal(0UL, guest.Rdi & CpuFlags.Rf);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void The_breakpoint_of_a_repeated_instruction_is_hit_once_although_it_is_interrupted(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label debug = a.CreateLabel(), interrupt = a.CreateLabel(), target = a.CreateLabel();
            a.lea(rax, __[target]);
            a.mov(dr0, rax);
            a.mov(eax, 0x401);
            a.mov(dr7, rax);
            a.mov(ecx, 3000);
            a.mov(esi, (int)EngineGuest.Data);
            a.mov(edx, SignalPorts.Sink);
            a.sti();
            a.nop();
            a.Label(ref target);
            a.rep.outsb();
            a.hlt();
            a.Label(ref debug);
            a.inc(rbx);
            a.or(__dword_ptr[rsp + 16], Rf);
            a.iretq();
            a.Label(ref interrupt);
            a.mov(rdi, __qword_ptr[rsp + 16]);
            a.iretq();
            return [debug, interrupt, target];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.Debug, at[0]);
        guest.SetGate(SignalPorts.SinkVector, at[1]);
        guest.RunToHalt();
        Assert.Equal(-1, guest.Vector);
        Assert.Equal((1UL, 3000), (guest.Rbx, guest.Signals.Sunk.Count));
        Assert.NotEqual(0UL, guest.Rdi & CpuFlags.Rf);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void An_instruction_breakpoint_comes_before_the_fault_of_its_instruction(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label debug = a.CreateLabel();
            a.mov(eax, (int)EngineGuest.AbsentPage);
            a.mov(dr0, rax);
            a.mov(ecx, 0x401);
            a.mov(dr7, rcx);
            a.jmp(rax);
            a.Label(ref debug);
            a.mov(rbx, __qword_ptr[rsp]);
            a.mov(rdx, dr6);
            a.or(__dword_ptr[rsp + 16], Rf);
            a.iretq();
            return [debug];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.Debug, at[0]);
        guest.RunToHalt();
        Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
        Assert.Equal((EngineGuest.AbsentPage, 1UL), (guest.Rbx, guest.Rdx & 0xF));
        Assert.Equal(EngineGuest.AbsentPage, guest.Read64(guest.Rsp + 8));
    }
}
