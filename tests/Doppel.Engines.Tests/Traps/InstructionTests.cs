using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Traps;

/// <summary>Instructions whose corner cases emulators miss.</summary>
public sealed class InstructionTests
{
    private const uint WriteToPresentPage = 3;

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_compare_exchange_that_differs_still_writes_and_so_faults_on_a_read_only_page(string engine)
    {
        Action<Assembler>[] programs =
        [
            a => a.cmpxchg8b(__qword_ptr[rdi]),
            a => a.cmpxchg16b(__xmmword_ptr[rdi]),
            a => a.@lock.cmpxchg16b(__xmmword_ptr[rdi]),
            a => a.cmpxchg(__dword_ptr[rdi], ecx),
        ];
        foreach (Action<Assembler> program in programs)
        {
            using var guest = new EngineGuest(engine);
            guest.Run(a =>
            {
                a.mov(edi, (int)EngineGuest.ReadOnlyPage);
                a.mov(eax, 1);
                program(a);
                a.hlt();
            });
            Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
            Assert.Equal(WriteToPresentPage, guest.Read64(guest.Rsp));
            Assert.Equal(1UL, guest.Rax);
        }
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_misaligned_CMPXCHG16B_is_a_protection_fault_and_a_misaligned_CMPXCHG8B_is_not(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(edi, (int)EngineGuest.Data + 8);
            a.cmpxchg8b(__qword_ptr[rdi - 5]);
            a.inc(rsi);
            a.cmpxchg16b(__xmmword_ptr[rdi]);
            a.hlt();
        });
        Assert.Equal(((int)ExceptionVector.GeneralProtection, 1UL), (guest.Vector, guest.Rsi));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_32_bit_CMPXCHG_clears_the_upper_half_of_RAX_only_when_it_differs(string engine)
    {
        foreach (bool differs in new[] { false, true })
        {
            using var guest = new EngineGuest(engine);
            guest.Run(a =>
            {
                a.mov(edi, (int)EngineGuest.Data);
                a.mov(__dword_ptr[rdi], differs ? 6 : 5);
                a.mov(rax, 0x1122_3344_0000_0005);
                a.cmpxchg(__dword_ptr[rdi], ecx);
                a.hlt();
            });
            Assert.Equal(differs ? 6UL : 0x1122_3344_0000_0005UL, guest.Rax);
        }
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Bit_scans_of_zero_leave_the_destination_alone(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(rax, 0x1122_3344_5566_7788);
            a.mov(rbx, rax);
            a.bsf(rax, rcx);
            a.setz(dl);
            a.bsr(rbx, rcx);
            a.setz(dh);
            a.hlt();
        });
        Assert.Equal((0x1122_3344_5566_7788UL, 0x1122_3344_5566_7788UL, 0x0101UL), (guest.Rax, guest.Rbx, guest.Rdx));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_shift_count_of_zero_changes_no_flag(string engine)
    {
        Action<Assembler>[] shifts =
        [
            a => a.shl(eax, cl), a => a.shr(rax, cl), a => a.sar(al, cl), a => a.rol(ax, cl), a => a.ror(rax, cl), a => a.rcl(eax, cl),
            a => a.rcr(rax, cl), a => a.shld(rax, rbx, cl), a => a.shrd(eax, ebx, cl), a => a.shl(rax, 0), a => a.shr(eax, 64),
        ];
        foreach (Action<Assembler> shift in shifts)
        {
            foreach (int flags in new[] { 0, (int)CpuFlags.Status })
            {
                foreach (int count in new[] { 0, 64 })
                {
                    using var guest = new EngineGuest(engine);
                    guest.Run(a =>
                    {
                        a.mov(ecx, count);
                        a.mov(eax, unchecked((int)0x87654321));
                        a.push(flags | 2);
                        a.popfq();
                        shift(a);
                        a.pushfq();
                        a.pop(rdx);
                        a.hlt();
                    });
                    Assert.Equal((0x87654321UL, (ulong)flags | 2), (guest.Rax, guest.Rdx));
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_repeated_instruction_can_be_interrupted_with_its_registers_updated(string engine)
    {
        const int Count = 5000;
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label interrupt = a.CreateLabel(), repeated = a.CreateLabel();
            a.mov(ecx, Count);
            a.mov(esi, (int)EngineGuest.Data);
            a.mov(edx, SignalPorts.Sink);
            a.sti();
            a.nop();
            a.Label(ref repeated);
            a.rep.outsb();
            a.hlt();
            a.Label(ref interrupt);
            a.mov(rax, rcx);
            a.mov(rbx, rsi);
            a.mov(rdi, __qword_ptr[rsp]);
            a.iretq();
            return [interrupt, repeated];
        });
        byte[] sent = [.. Enumerable.Range(0, Count).Select(i => (byte)(i * 7))];
        guest.Write(EngineGuest.Data, sent);
        guest.EnterLong();
        guest.SetGate(SignalPorts.SinkVector, at[0]);
        guest.RunToHalt();
        Assert.Equal(at[1], guest.Rdi);
        Assert.InRange(guest.Rax, 1UL, Count - 10UL);
        Assert.Equal((ulong)Count, guest.Rax + guest.Rbx - EngineGuest.Data);
        Assert.Equal(sent, guest.Signals.Sunk);
        Assert.Equal((0UL, EngineGuest.Data + Count), (guest.Rcx, guest.Rsi));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void String_port_instructions_move_elements_of_their_own_size(string engine)
    {
        using var guest = new EngineGuest(engine);
        var ports = new PortRecorder();
        guest.Ports.Map(PortRecorder.Port, 8, ports);
        guest.Write64(EngineGuest.Data, 0x8877665544332211);
        guest.Run(a =>
        {
            a.mov(esi, (int)EngineGuest.Data);
            a.lea(rdi, __[rsi + 16]);
            a.mov(edx, PortRecorder.Port);
            a.outsb();
            a.outsw();
            a.outsd();
            a.insb();
            a.insw();
            a.insd();
            a.hlt();
        });
        Assert.Equal([(1, 0x11UL), (2, 0x3322), (4, 0x77665544)], ports.Written);
        Assert.Equal([1, 2, 4], ports.ReadSizes);
        Assert.Equal((EngineGuest.Data + 7, EngineGuest.Data + 23), (guest.Rsi, guest.Rdi));
        Assert.Equal(0x00B4B3B2B1B2B1B1UL, guest.Read64(EngineGuest.Data + 16));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_fault_inside_a_repeated_instruction_leaves_the_registers_at_its_element(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label repeated = a.CreateLabel();
            a.mov(ecx, 100);
            a.mov(esi, (int)EngineGuest.Data);
            a.mov(edi, (int)EngineGuest.AbsentPage - 40);
            a.Label(ref repeated);
            a.rep.movsd();
            a.hlt();
            return [repeated];
        });
        Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
        Assert.Equal(at[0], guest.Read64(guest.Rsp + 8));
        Assert.Equal((90UL, EngineGuest.Data + 40, EngineGuest.AbsentPage), (guest.Rcx, guest.Rsi, guest.Rdi));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void FXSAVE_holds_the_pointer_of_the_last_x87_instruction_and_no_selectors(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] at = guest.Run(a =>
        {
            Label load = a.CreateLabel();
            a.mov(edi, (int)EngineGuest.Data);
            a.fninit();
            a.Label(ref load);
            a.fld1();
            a.nop();
            a.fxsave64(__byte_ptr[rdi]);
            a.fnsave(__byte_ptr[rdi + 1024]);
            a.mov(eax, 7);
            a.xor(ecx, ecx);
            a.cpuid();
            a.hlt();
            return [load];
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(at[0], guest.Read64(EngineGuest.Data + 8));
        Assert.Equal(at[0], guest.Read64(EngineGuest.Data + 1024 + 12) & uint.MaxValue);
        Assert.Equal(0UL, guest.Read64(EngineGuest.Data + 1024 + 16) & 0xFFFF);
        // Selectors are announced as zero, and the data pointer as one of exceptions only.
        Assert.Equal(0x2040UL, guest.Rbx & 0x2040);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void POP_to_memory_uses_the_incremented_stack_pointer_and_PUSH_RSP_the_old_one(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(eax, 0x1111);
            a.push(rax);
            a.mov(eax, 0x2222);
            a.push(rax);
            // The 2222h lands on the 1111h: the address counts from the pointer behind what was popped.
            a.pop(__qword_ptr[rsp]);
            a.pop(rbx);
            a.mov(rsi, rsp);
            a.push(rsp);
            a.pop(rdi);
            a.push(rsi);
            a.pop(rsp);
            a.hlt();
        });
        Assert.Equal((0x2222UL, EngineGuest.Stack, EngineGuest.Stack, EngineGuest.Stack), (guest.Rbx, guest.Rsi, guest.Rdi, guest.Rsp));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_POP_to_memory_that_faults_leaves_the_stack_pointer(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Run(a =>
        {
            a.mov(edi, (int)EngineGuest.AbsentPage);
            a.push(rdi);
            a.mov(rsi, rsp);
            a.pop(__qword_ptr[rdi]);
            a.hlt();
        });
        Assert.Equal((int)ExceptionVector.PageFault, guest.Vector);
        Assert.Equal(guest.Rsi, guest.Read64(guest.Rsp + 32));
    }
}
