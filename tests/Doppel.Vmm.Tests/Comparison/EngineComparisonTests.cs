using Doppel.Vmm.Comparison;

namespace Doppel.Vmm.Tests.Comparison;

public sealed class EngineComparisonTests
{
    [Theory]
    [InlineData(EngineNames.Interpreter)]
    [InlineData(EngineNames.Translator)]
    public async Task Each_operation_is_done_and_counted(string engine)
    {
        EngineResult result = await EngineComparison.RunAsync(engine, null);
        Assert.Null(result.Obstacle);
        Assert.Equal(Enum.GetValues<Nanobenchmark>(), result.Operations.Select(operation => operation.Operation));
        Assert.All(result.Operations, operation => Assert.True(operation.Count > 0));
        if (engine == EngineNames.Translator)
            Assert.Contains(result.Operations, operation => operation is { Operation: Nanobenchmark.In, Exits: >= 0.9 });
    }

    [Fact]
    public async Task An_engine_that_cannot_run_here_says_why()
    {
        EngineResult result = await EngineComparison.RunAsync(EngineNames.Kvm, null);
        if (result.Obstacle is string obstacle)
            Assert.StartsWith("--engine kvm: ", obstacle, StringComparison.Ordinal);
        else
            Assert.NotEmpty(result.Operations);
    }
}
