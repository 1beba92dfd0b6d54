using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Doppel.Machine.State;
using Iced.Intel;
using Xunit.Abstractions;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.State;

public sealed class ProgramMoveTests(ITestOutputHelper output)
{
    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_program_saved_at_any_instruction_goes_on_in_another_vcpu_as_if_nothing_had_happened(string engine)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var whole = new EngineGuest("interpreter");
        whole.Assemble(64, EngineGuest.Code, Program);
        whole.EnterLong();
        whole.RunToHalt();
        Assert.Equal(-1, whole.Vector);
        ulong length = whole.Cpu.GetInstructionsRetired();
        for (int i = 0; i < 12; i++)
        {
            ulong count = (ulong)random.NextInt64(1, (long)length);
            using var first = new EngineGuest("interpreter");
            first.Assemble(64, EngineGuest.Code, Program);
            first.EnterLong();
            Assert.Equal(ExitReason.Budget, first.Engine.Run(count));
            Assert.Equal(count, first.Cpu.GetInstructionsRetired());
            using var second = new EngineGuest(engine);
            second.Write(0, first.Read(0, 16 << 20));
            new CpuStateSection(second.Cpu).Restore(new StateReader(Save(first)), 1);
            second.RunToHalt();
            Assert.Equal(Save(whole), Save(second));
            Assert.Equal(whole.Read(EngineGuest.Data, 0x2000), second.Read(EngineGuest.Data, 0x2000));
            Assert.Equal(whole.Read(EngineGuest.Stack - 0x1000, 0x1000), second.Read(EngineGuest.Stack - 0x1000, 0x1000));
        }
    }

    private static void Program(Assembler a)
    {
        Label loop = a.CreateLabel("loop"), function = a.CreateLabel("function");
        a.mov(ecx, 150);
        a.mov(ebx, (int)EngineGuest.Data);
        a.mov(rax, 0x9E3779B97F4A7C15);
        a.fninit();
        a.fldpi();
        a.cvtsi2sd(xmm1, rax);
        a.Label(ref loop);
        a.imul(rax, rax, 0x343FD);
        a.adc(rax, rcx);
        a.mov(__qword_ptr[rbx + rcx * 8], rax);
        a.movq(xmm0, rax);
        a.paddq(xmm2, xmm0);
        a.addsd(xmm1, xmm1);
        a.vpbroadcastq(ymm3, xmm0);
        a.vpxor(ymm4, ymm4, ymm3);
        a.fld(st0);
        a.fadd(st1, st0);
        a.fstp(__qword_ptr[rbx + 0x1000]);
        a.call(function);
        a.rol(rdx, cl);
        a.dec(ecx);
        a.jnz(loop);
        a.hlt();
        a.Label(ref function);
        a.push(rcx);
        a.pushfq();
        a.mov(rsi, rbx);
        a.lea(rdi, __[rbx + 0x1100]);
        a.mov(ecx, 33);
        a.rep.movsb();
        a.popfq();
        a.pop(rcx);
        a.xor(rdx, rax);
        a.ret();
    }

    private static byte[] Save(EngineGuest guest)
    {
        var writer = new StateWriter();
        new CpuStateSection(guest.Cpu).Save(writer);
        return writer.ToArray();
    }
}
