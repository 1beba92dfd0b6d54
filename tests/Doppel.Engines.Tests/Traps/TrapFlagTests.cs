using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Traps;

/// <summary>RFLAGS.TF and data breakpoints: traps after an instruction (Intel SDM vol. 3, 18.3.1.2 and 18.3.1.4).</summary>
public sealed class TrapFlagTests
{
    private const int Tf = (int)CpuFlags.Tf;
    private const ulong SingleStep = 1 << 14;

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void The_first_trap_follows_the_instruction_after_POPF(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label after = a.CreateLabel();
            SetTrapFlag(a);
            a.inc(rbx);
            a.Label(ref after);
            a.inc(rbx);
            a.hlt();
            return [after];
        });
        ExpectTrap(guest, at[0]);
        Assert.Equal(1UL, guest.Rbx);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void POPF_that_clears_TF_is_still_trapped(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label after = a.CreateLabel(), debug = a.CreateLabel();
            a.push(2);
            SetTrapFlag(a);
            a.popfq();
            a.Label(ref after);
            a.nop();
            a.hlt();
            a.Label(ref debug);
            a.inc(rbx);
            a.mov(rdx, __qword_ptr[rsp]);
            a.mov(rsi, __qword_ptr[rsp + 16]);
            a.iretq();
            return [after, debug];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.Debug, at[1]);
        guest.RunToHalt();
        Assert.Equal((1UL, at[0]), (guest.Rbx, guest.Rdx));
        Assert.Equal(0UL, guest.Rsi & CpuFlags.Tf);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void The_first_trap_follows_the_instruction_that_IRET_returns_to(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label target = a.CreateLabel(), after = a.CreateLabel();
            a.mov(rax, rsp);
            a.push(EngineGuest.Data64);
            a.push(rax);
            a.push(Tf | 2);
            a.push(EngineGuest.Code64);
            a.lea(rax, __[target]);
            a.push(rax);
            a.iretq();
            a.hlt();
            a.Label(ref target);
            a.inc(rbx);
            a.Label(ref after);
            a.inc(rbx);
            a.hlt();
            return [after];
        });
        ExpectTrap(guest, at[0]);
        Assert.Equal(1UL, guest.Rbx);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void SYSCALL_is_trapped_unless_FMASK_clears_TF(string engine)
    {
        foreach (bool masks in new[] { true, false })
        {
            using var guest = new EngineGuest(engine);
            ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
            {
                Label target = a.CreateLabel();
                SetTrapFlag(a);
                a.syscall();
                a.Label(ref target);
                a.inc(rbx);
                a.hlt();
                return [target];
            });
            guest.EnterLong();
            SetSystemCall(guest, at[0], masks);
            guest.RunToHalt();
            if (masks)
                Assert.Equal((-1, 1UL), (guest.Vector, guest.Rbx));
            else
                ExpectTrap(guest, at[0]);
        }
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void INT_suspends_stepping_until_its_handler_has_returned(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label handler = a.CreateLabel(), after = a.CreateLabel();
            SetTrapFlag(a);
            a.@int(0x50);
            a.inc(rbx);
            a.Label(ref after);
            a.hlt();
            a.Label(ref handler);
            a.inc(rdx);
            a.mov(rsi, __qword_ptr[rsp + 16]);
            a.iretq();
            return [handler, after];
        });
        guest.EnterLong();
        guest.SetGate(0x50, at[0]);
        guest.RunToHalt();
        ExpectTrap(guest, at[1]);
        Assert.Equal((1UL, 1UL), (guest.Rbx, guest.Rdx));
        Assert.NotEqual(0UL, guest.Rsi & CpuFlags.Tf);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_repeated_instruction_is_trapped_after_each_element(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label debug = a.CreateLabel(), move = a.CreateLabel(), after = a.CreateLabel();
            a.mov(ecx, 3);
            a.mov(esi, (int)EngineGuest.Data);
            a.mov(edi, (int)EngineGuest.Data + 0x100);
            a.mov(ebp, (int)EngineGuest.Data + 0x200);
            SetTrapFlag(a);
            a.Label(ref move);
            a.rep.movsb();
            a.Label(ref after);
            a.hlt();
            a.Label(ref debug);
            a.inc(rbx);
            a.mov(rax, __qword_ptr[rsp]);
            a.mov(__qword_ptr[rbp], rax);
            a.add(rbp, 8);
            a.cmp(rbx, 3);
            a.jb(a.@F);
            a.and(__dword_ptr[rsp + 16], ~Tf);
            a.AnonymousLabel();
            a.iretq();
            return [debug, move, after];
        });
        guest.EnterLong();
        guest.SetGate((int)ExceptionVector.Debug, at[0]);
        guest.RunToHalt();
        Assert.Equal((-1, 3UL, 0UL), (guest.Vector, guest.Rbx, guest.Rcx));
        ulong trace = EngineGuest.Data + 0x200;
        Assert.Equal((at[1], at[1], at[2]), (guest.Read64(trace), guest.Read64(trace + 8), guest.Read64(trace + 16)));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_data_breakpoint_is_a_trap_after_the_access(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label after = a.CreateLabel();
            a.mov(eax, (int)EngineGuest.Data);
            a.mov(dr0, rax);
            // Four bytes, on writes.
            a.mov(ecx, 0x000D0401);
            a.mov(dr7, rcx);
            a.mov(edx, __dword_ptr[rax]);
            a.mov(__byte_ptr[rax + 3], 0x77);
            a.Label(ref after);
            a.inc(rbx);
            a.hlt();
            return [after];
        });
        Assert.Equal((int)ExceptionVector.Debug, guest.Vector);
        Assert.Equal((at[0], 0UL), (guest.Read64(guest.Rsp), guest.Rbx));
        Assert.Equal(0x77000000UL, guest.Read64(EngineGuest.Data));
        Assert.Equal(0UL, guest.Read64(guest.Rsp + 16) & CpuFlags.Rf);
        AssertStatus(guest, 1);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void An_instruction_that_faults_reports_no_data_breakpoint(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(eax, (int)EngineGuest.Data);
            a.mov(dr0, rax);
            // Four bytes, on reads and writes.
            a.mov(ecx, 0x000F0401);
            a.mov(dr7, rcx);
            a.mov(rdi, EngineGuest.ReadOnlyPage);
            a.mov(rsi, rax);
            a.movsb();
            a.hlt();
        });
        Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
        AssertStatus(guest, 0);
    }

    internal static void SetTrapFlag(Assembler a)
    {
        a.pushfq();
        a.or(__dword_ptr[rsp], Tf);
        a.popfq();
    }

    private static void ExpectTrap(EngineGuest guest, ulong rip)
    {
        Assert.Equal((int)ExceptionVector.Debug, guest.Vector);
        Assert.Equal(rip, guest.Read64(guest.Rsp));
        AssertStatus(guest, SingleStep);
    }

    private static unsafe void AssertStatus(EngineGuest guest, ulong expected) => Assert.Equal(expected, guest.State->Dr[6] & (SingleStep | 0xF));

    private static unsafe void SetSystemCall(EngineGuest guest, ulong target, bool masks)
    {
        guest.State->Lstar = target;
        guest.State->Star = (ulong)EngineGuest.Code64 << 32;
        guest.State->SyscallMask = masks ? CpuFlags.Tf : 0;
    }
}
