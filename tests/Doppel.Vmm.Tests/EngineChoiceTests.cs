using Doppel.Vmm;

namespace Doppel.Vmm.Tests;

/// <summary>Which engine a machine gets; KVM's device is a path that tests choose.</summary>
public sealed class EngineChoiceTests
{
    private const string NoKvm = "/nonexistent/kvm";
    private static readonly MachineSpec Spec = new() { Kernel = "vmlinuz", Engine = EngineNames.Auto };

    [Fact]
    public void Auto_without_kvm_takes_the_default_and_says_why()
    {
        EngineChoice choice = EngineChoice.Make(Spec, isNew: true, NoKvm);
        Assert.Equal(Spec with { Engine = EngineNames.Default }, choice.Spec);
        Assert.Equal($"the engine is {EngineNames.Default}: this host has no {NoKvm}: its kernel has no KVM, or virtualization is switched off in its firmware", choice.Reason);
    }

    [Fact]
    public void Kvm_by_name_is_refused_with_the_reason()
    {
        SpecException error = Assert.Throws<SpecException>(() => EngineChoice.Make(Spec with { Engine = EngineNames.Kvm }, isNew: true, NoKvm));
        Assert.Equal(
            $"--engine kvm: this host has no {NoKvm}: its kernel has no KVM, or virtualization is switched off in its firmware; another engine (auto takes {EngineNames.Default} here) would be right",
            error.Message);
    }

    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public void Other_engines_are_what_was_asked_for(string engine)
    {
        MachineSpec spec = Spec with { Engine = engine };
        Assert.Equal(new EngineChoice(spec, null), EngineChoice.Make(spec, isNew: true, NoKvm));
    }

    [Fact]
    public void Counted_time_needs_an_engine_that_counts()
    {
        MachineSpec spec = Spec with { Clock = ClockKind.Instructions };
        EngineChoice choice = EngineChoice.Make(spec, isNew: true);
        Assert.Equal(EngineNames.Default, choice.Spec.Engine);
        Assert.Contains("KVM can't count instructions", choice.Reason, StringComparison.Ordinal);
        Assert.Contains("KVM can't count instructions", Assert.Throws<SpecException>((spec with { Engine = EngineNames.Kvm }).Validate).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(999_999UL)]
    [InlineData(16_000_000_001UL)]
    public void A_tsc_that_no_processor_has_is_refused(ulong frequency) =>
        Assert.Equal($"--tsc-frequency {frequency}: 1000000 to 16000000000 ticks a second would be right", Assert.Throws<SpecException>((Spec with { TscFrequency = frequency }).Validate).Message);
}
