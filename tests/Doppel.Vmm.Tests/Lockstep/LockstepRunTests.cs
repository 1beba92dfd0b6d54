using Doppel.Machine.Cpu;
using Doppel.Vmm.Lockstep;

namespace Doppel.Vmm.Tests.Lockstep;

public sealed unsafe class LockstepRunTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-lockstep").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void The_interpreter_and_the_translator_agree_on_a_whole_guest()
    {
        LockstepResult result = new LockstepRun(Options(rounds: 5000)).Run();
        Assert.True(result.Difference is null, result.Difference?.ToString());
        Assert.Equal("the guest powered off", result.End);
        Assert.InRange(result.Instructions, 80_000ul, 120_000ul);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(999)]
    [InlineData(1000)]
    [InlineData(1001)]
    [InlineData(34567)]
    public void A_wrong_register_is_found_at_the_very_instruction(ulong instruction)
    {
        LockstepDifference difference = Find(instruction, cpu => cpu.State->Gpr[15] ^= 4);
        Assert.True(difference.IsExact);
        Assert.Equal(instruction, difference.DifferentAt);
        Assert.Equal(instruction - 1, difference.EqualAt);
        Assert.Equal(["r15"], difference.What);
        LockstepRegister r15 = difference.Registers.Single(r => r.Name == "r15");
        Assert.Equal(r15.Reference ^ 4, r15.Tested);
        Assert.NotEmpty(difference.GuestCode);
        Assert.Contains($"instruction {instruction},", difference.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_byte_in_memory_is_found_at_the_very_instruction()
    {
        LockstepDifference difference = Find(34567, cpu => cpu.Physical.Memory.TryWrite(LongKernel.Data + 0x2005, [0x5A]));
        Assert.True(difference.IsExact);
        Assert.Equal(34567ul, difference.DifferentAt);
        Assert.StartsWith($"memory {LongKernel.Data + 0x2005:x}", Assert.Single(difference.What), StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_hidden_part_of_a_segment_and_a_wrong_vector_register_are_found()
    {
        Assert.Equal(["fs.base"], Find(2500, cpu => cpu.State->Fs.Base++).What);
        Assert.Equal(["xmm5.high"], Find(2500, cpu => cpu.State->Xmm(5)[8]++).What);
        Assert.Equal(["lstar"], Find(2500, cpu => cpu.State->Lstar++).What);
    }

    [Fact]
    public void A_difference_shows_the_code_that_the_translator_has_emitted()
    {
        LockstepOptions options = Options(5000) with { Reference = "corrupting", Tested = EngineNames.Translator };
        LockstepDifference difference = Run(options, 34567, cpu => cpu.State->Gpr[15] ^= 4).Difference!;
        Assert.True(difference.IsExact);
        Assert.Equal(34567ul, difference.DifferentAt);
        Assert.Contains(difference.HostCode, line => line.Contains(" jrcxz ", StringComparison.Ordinal));
    }

    [Fact]
    public void The_number_of_instructions_ends_a_run_without_a_difference()
    {
        LockstepResult result = new LockstepRun(Options(5000) with { Instructions = 12_345 }).Run();
        Assert.Null(result.Difference);
        Assert.Null(result.End);
        Assert.Equal(12_345ul, result.Instructions);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Several_vCPUs_take_the_same_turns_on_both_engines(int cpus)
    {
        LockstepResult result = new LockstepRun(PairOptions(cpus)).Run();
        Assert.True(result.Difference is null, result.Difference?.ToString());
        Assert.Equal("the guest powered off", result.End);
        Assert.InRange(result.Instructions, 55_000ul * (ulong)cpus, 80_000ul * (ulong)cpus);
    }

    [Fact]
    public void A_run_of_several_vCPUs_does_not_depend_on_where_it_is_looked_at()
    {
        LockstepResult[] results = [.. new ulong[] { 137, 1000, 4096, 50_000 }.Select(interval => new LockstepRun(PairOptions(2) with { Interval = interval }).Run())];
        Assert.All(results, result => Assert.Null(result.Difference));
        Assert.Single(results.Select(result => result.Instructions).Distinct());
    }

    [Fact]
    public void A_wrong_register_of_the_second_vCPU_is_found_at_the_very_instruction()
    {
        LockstepDifference difference = new LockstepRun(
            PairOptions(2) with { Tested = "corrupting" },
            (factory, name, cpu) => name == "corrupting" && cpu.Index == 1 ? new CorruptingEngine(cpu, 2345, c => c.State->Gpr[15] ^= 4) : factory.Create(EngineNames.Interpreter, cpu)).Run().Difference!;
        Assert.NotNull(difference);
        Assert.True(difference.IsExact);
        Assert.Equal(1, difference.Cpu);
        Assert.Equal(["vCPU 1 r15"], difference.What);
        Assert.Equal(difference.EqualAt + 1, difference.DifferentAt);
        Assert.Contains("of vCPU 1", difference.ToString(), StringComparison.Ordinal);
    }

    private LockstepDifference Find(ulong instruction, Action<VirtualCpu> corrupt)
    {
        LockstepResult result = Run(Options(5000) with { Tested = "corrupting" }, instruction, corrupt);
        Assert.NotNull(result.Difference);
        Assert.Equal(instruction - 1, result.Instructions);
        return result.Difference;
    }

    private static LockstepResult Run(LockstepOptions options, ulong instruction, Action<VirtualCpu> corrupt) =>
        new LockstepRun(options, (factory, name, cpu) => name == "corrupting" ? new CorruptingEngine(cpu, instruction, corrupt) : factory.Create(name, cpu)).Run();

    private LockstepOptions PairOptions(int cpus) => new()
    {
        Spec = new MachineSpec { Kernel = PairKernel.Write(_directory, cpus - 1, 6000), Memory = 32 << 20, Cpus = cpus },
        Interval = 1000,
        MemoryInterval = 10_000,
    };

    private LockstepOptions Options(int rounds) => new()
    {
        Spec = new MachineSpec { Kernel = LongKernel.Write(_directory, rounds), Memory = 32 << 20 },
        Interval = 1000,
        MemoryInterval = 10_000,
    };
}
