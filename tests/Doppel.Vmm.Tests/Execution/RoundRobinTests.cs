using Doppel.Vmm.Tests.Lockstep;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Vmm.Tests.Execution;

public sealed class RoundRobinTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-turns-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public async Task An_interrupt_from_a_vCPU_that_then_halts_wakes_another_one_at_once(string engine)
    {
        // The first halts; the second sends it an NMI and halts. The NMI's handler says to port E9h how many ns it took, in four
        // bytes. Meanwhile nothing is due but timers far away.
        string kernel = PairKernel.Write(
            Path.Combine(_directory, "kernel"),
            a =>
            {
                Label handler = a.CreateLabel(), begin = a.CreateLabel(), next = a.CreateLabel();
                a.jmp(begin);
                a.Label(ref handler);
                a.rdtsc();
                a.sub(eax, __dword_ptr[rdi + 0x80]);
                a.mov(ecx, 4);
                a.Label(ref next);
                a.@out(0xE9, al);
                a.shr(eax, 8);
                a.dec(ecx);
                a.jne(next);
                PairKernel.PowerOff(a);
                a.Label(ref begin);
                // A gate for vector 2 in an IDT at Data + 1000h.
                a.lea(rax, __[handler]);
                a.mov(__word_ptr[rdi + 0x1020], ax);
                a.mov(edx, cs);
                a.mov(__word_ptr[rdi + 0x1022], dx);
                a.mov(__word_ptr[rdi + 0x1024], 0x8E00);
                a.shr(rax, 16);
                a.mov(__word_ptr[rdi + 0x1026], ax);
                a.mov(__qword_ptr[rdi + 0x1028], 0);
                a.mov(__word_ptr[rdi + 0x100], 0xFFF);
                a.lea(rax, __[rdi + 0x1000]);
                a.mov(__qword_ptr[rdi + 0x102], rax);
                a.lidt(__[rdi + 0x100]);
                a.lea(rsp, __[rdi + 0x3000]);
                // A one-shot of the PIT's channel 0 as far away as it goes: 55 ms.
                a.mov(al, 0x30);
                a.@out(0x43, al);
                a.xor(eax, eax);
                a.@out(0x40, al);
                a.@out(0x40, al);
                PairKernel.StartOthers(a);
                a.cli();
                a.hlt();
            },
            a =>
            {
                a.mov(rbx, PairKernel.Apic);
                a.mov(__dword_ptr[rbx + 0xF0], 0x1FF);
                a.mov(__dword_ptr[rbx + 0x310], 0);
                a.rdtsc();
                a.mov(__dword_ptr[rdi + 0x80], eax);
                a.mov(__dword_ptr[rbx + 0x300], 0x4400);
                a.cli();
                a.hlt();
            });
        var output = new List<byte>();
        await using VirtualMachine machine = VirtualMachine.Create(
            new MachineSpec { Kernel = kernel, Engine = engine, Clock = ClockKind.Instructions, Cpus = 2, Memory = 32 << 20 },
            new MachineConnections { Serial1 = Doppel.Devices.Console.NullConsole.Instance, DebugPort = output.Add });
        machine.Start();
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync()).Kind);
        Assert.InRange(BitConverter.ToInt32([.. output]), 1, 1000);
    }
}
