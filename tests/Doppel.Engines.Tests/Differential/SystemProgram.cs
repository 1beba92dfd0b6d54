using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// Makes random programs of system instructions: a kernel that starts a program at CPL 3 and serves its system calls,
/// interrupts that devices raise and that arrive when the kernel lets them in. R13 gathers what the flags and bases were.
/// </summary>
internal sealed class SystemProgram(Random random)
{
    private const ulong Entry = EngineGuest.Code + 0x8000;
    private const ulong User = EngineGuest.Code + 0x10000;
    private const ulong Handler = EngineGuest.Code + 0x18000;
    private const ulong PageFaultHandler = EngineGuest.Code + 0x19000;
    private const ulong InterruptStack = EngineGuest.Stack - 0x20000;
    private const int Pages = 16;
    private const ulong Calls = EngineGuest.Data + 0x100;
    private const byte Vector = 0x50;

    /// <summary>The flags that SYSCALL clears, as Linux sets them or at random.</summary>
    internal ulong SyscallMask { get; } = random.Next(3) == 0 ? (ulong)random.Next() & 0x3F7FD5 : 0x257FD5;

    // Bits of the page table entries, and of the gate that page faults go through.
    private readonly ulong[] _rights = [.. Enumerable.Range(0, Pages).Select(_ => random.Next(5) switch { 0 => 6UL, 1 => 5UL, 2 => 3UL, 3 => 1UL, _ => 7UL })];
    private readonly ulong _gate = ((ulong)random.Next(2) << 32) | ((ulong)random.Next(2) << 40);

    /// <summary>Writes the program into guests, the same into each.</summary>
    internal void Write(params EngineGuest[] guests)
    {
        Action<Assembler> kernel = Record(a => Kernel(a)), entry = Record(a => SystemCall(a)), user = Record(a => Program(a));
        foreach (EngineGuest guest in guests)
        {
            guest.Assemble(64, EngineGuest.Code, kernel);
            guest.Assemble(64, Entry, entry);
            guest.Assemble(64, User, user);
            guest.Assemble(64, Handler, a =>
            {
                a.inc(r12);
                a.iretq();
            });
            guest.Assemble(64, PageFaultHandler, HandlePageFault);
            for (ulong i = 0; i < Pages; i++)
                guest.Write64(EngineGuest.Tables + 0x3000 + (8 * i), (EngineGuest.SmallPages + (i << 12)) | _rights[i]);
            guest.SetGate((int)ExceptionVector.PageFault, PageFaultHandler);
            guest.SetGate(Vector, Handler);
            guest.SetGate(3, Handler);
            guest.Write64(Calls, 0);
        }
    }

    /// <summary>A guest's registers before the program.</summary>
    internal unsafe void Enter(EngineGuest guest)
    {
        guest.Apic.Init();
        guest.Cpu.ClearSignal(PendingEvents.Interrupt);
        CpuState* s = guest.State;
        s->HeldInterrupt = 0;
        s->InstructionsRetired = 0;
        guest.EnterLong();
        s->Cr4 |= Cr4.Fsgsbase;
        s->Star = ((ulong)EngineGuest.Code64 << 32) | ((ulong)(EngineGuest.UserData - 8) << 48);
        s->Lstar = Entry;
        s->SyscallMask = SyscallMask;
        s->KernelGsBase = 0x1234;
        s->Cr2 = 0;
        ulong gate = s->Idtr.Base + (16 * (ulong)ExceptionVector.PageFault);
        guest.Write64(gate, (guest.Read64(gate) & ~(7UL << 32)) | _gate);
        guest.Write64(s->Tr.Base + 0x24, InterruptStack);
        guest.Cpu.Tlb.FlushAll();
        guest.Cpu.ModeChanged();
    }

    // Gathers what it is told and lets the access be made.
    private static void HandlePageFault(Assembler a)
    {
        a.push(rax);
        a.push(rdx);
        a.mov(rax, cr2);
        a.lea(r13, __[r13 + (rax * 2)]);
        a.rorx(r13, r13, 9);
        a.add(r13, __qword_ptr[rsp + 16]);
        a.add(r13, __qword_ptr[rsp + 24]);
        a.xor(r13, __qword_ptr[rsp + 40]);
        a.invlpg(__[rax]);
        a.sub(rax, (int)EngineGuest.SmallPages);
        a.shr(rax, 12);
        a.mov(edx, (int)EngineGuest.Tables + 0x3000);
        a.or(__qword_ptr[rdx + (rax * 8)], 7);
        a.pop(rdx);
        a.pop(rax);
        a.add(rsp, 8);
        a.iretq();
    }

    // The same random numbers for every guest.
    private Action<Assembler> Record(Action<Assembler> program)
    {
        int seed = random.Next();
        return a =>
        {
            _draw = new Random(seed);
            program(a);
        };
    }

    private Random _draw = new(0);

    private void Kernel(Assembler a)
    {
        Snippets(a, isUser: false);
        a.mov(rcx, User);
        a.mov(r11d, (int)Flags());
        a.sysretq();
    }

    private void Program(Assembler a)
    {
        for (int i = 0; i < 3; i++)
        {
            Snippets(a, isUser: true);
            a.syscall();
        }
    }

    private void SystemCall(Assembler a)
    {
        Label end = a.CreateLabel();
        a.push(rcx);
        a.push(r11);
        Snippets(a, isUser: false);
        a.mov(rax, Calls);
        a.inc(__qword_ptr[rax]);
        a.cmp(__qword_ptr[rax], 3);
        a.je(end);
        a.pop(r11);
        a.pop(rcx);
        if (_draw.Next(3) == 0)
            a.mov(r11d, (int)Flags());
        if (_draw.Next(2) == 0)
        {
            a.sysretq();
        }
        else
        {
            a.mov(rdx, rsp);
            a.push(EngineGuest.UserData);
            a.push(rdx);
            a.push(r11);
            a.push(EngineGuest.UserCode64);
            a.push(rcx);
            a.iretq();
        }

        a.Label(ref end);
        a.hlt();
    }

    private ulong Flags()
    {
        ulong flags = ((ulong)_draw.Next() & (CpuFlags.Status | CpuFlags.If | CpuFlags.Df | CpuFlags.Id)) | CpuFlags.Fixed;
        if (_draw.Next(12) == 0)
            flags |= CpuFlags.Ac;
        return flags;
    }

    private void Snippets(Assembler a, bool isUser)
    {
        int count = _draw.Next(1, 12);
        for (int i = 0; i < count; i++)
        {
            if (isUser || _draw.Next(2) == 0)
                Any(a);
            else
                Privileged(a);
        }
    }

    private void Any(Assembler a)
    {
        switch (_draw.Next(13))
        {
            case 0:
                a.pushfq();
                a.pop(rdx);
                Gather(a);
                break;
            case 1:
                a.push((int)Flags());
                a.popfq();
                break;
            case 2:
                a.cld();
                break;
            case 3:
                a.std();
                break;
            case 4:
                a.rdfsbase(_draw.Next(2) == 0 ? rdx : r9);
                Gather(a);
                break;
            case 5:
                a.mov(r10, Base());
                a.wrgsbase(r10);
                break;
            case 6:
                a.mov(esi, _draw.Next());
                a.wrfsbase(esi);
                a.rdgsbase(edx);
                Gather(a);
                break;
            case 7:
                a.int3();
                break;
            case 8:
                a.adc(rbx, rdx);
                break;
            case 9:
                a.mov(edi, Touched());
                a.adc(rbx, __qword_ptr[rdi]);
                break;
            case 11:
                a.mov(edi, Touched());
                a.mov(__word_ptr[rdi], _draw.Next(2) == 0 ? cs : ss);
                break;
            case 10:
                a.mov(edi, Touched());
                a.mov(__qword_ptr[rdi], rbx);
                break;
            default:
                a.sub(rbx, _draw.Next());
                break;
        }
    }

    private void Privileged(Assembler a)
    {
        switch (_draw.Next(7))
        {
            case 0:
                a.cli();
                break;
            case 1:
                a.sti();
                a.inc(rbx);
                break;
            case 2:
                a.sti();
                break;
            case 3:
                a.swapgs();
                break;
            case 4 or 5:
                a.mov(al, Vector);
                a.@out(SignalPorts.Interrupt, al);
                break;
            default:
                a.swapgs();
                a.rdgsbase(rdx);
                Gather(a);
                break;
        }
    }

    private int Touched() => (int)EngineGuest.SmallPages + (0x1000 * _draw.Next(Pages)) + (_draw.Next(20) == 0 ? 0xFFC : 8 * _draw.Next(500));

    private ulong Base() => _draw.Next(40) == 0 ? 0x8000_0000_0000 : ((ulong)_draw.NextInt64() & 0x7FFF_FFFF_FFFF) | (_draw.Next(2) == 0 ? 0xFFFF_8000_0000_0000 : 0);

    private static void Gather(Assembler a)
    {
        a.rorx(r13, r13, 7);
        a.lea(r13, __[r13 + rdx + 1]);
    }
}
