using Doppel.Bench;

namespace Doppel.Tools.Tests.Bench;

public sealed class ResultsTests
{
    [Theory]
    [InlineData(new[] { 3.0 }, 3.0)]
    [InlineData(new[] { 9.0, 1.0, 2.0 }, 2.0)]
    [InlineData(new[] { 4.0, 1.0, 3.0, 100.0 }, 3.5)]
    public void Median_is_the_middle_of_the_sorted_values(double[] values, double expected) =>
        Assert.Equal(expected, Results.Median(values));

    [Fact]
    public void Samples_of_different_counts_are_compared_by_iteration()
    {
        var results = new Results();
        results.Add("fast", 1, [new Sample("alu", 64, 640, 700, "aa", null)]);
        results.Add("slow", 1, [new Sample("alu", 4, 400, 500, "aa", null)]);
        Assert.Equal(10, results.Median("fast", "alu"));
        Assert.Equal(100, results.Median("slow", "alu"));
    }

    [Fact]
    public void A_contestant_that_computes_another_value_has_no_median()
    {
        var results = new Results();
        results.Add("right", 1, [new Sample("alu", 1, 100, 100, "aa", null)]);
        results.Add("wrong", 1, [new Sample("alu", 1, 1, 1, "ab", null)]);
        Assert.Equal(100, results.Median("right", "alu"));
        Assert.Null(results.Median("wrong", "alu"));
        Assert.Contains("ab", results.Problem("wrong", "alu"), StringComparison.Ordinal);
    }

    [Fact]
    public void One_failed_round_fails_the_cell()
    {
        var results = new Results();
        results.Add("one", 1, [new Sample("boot", 1, 100, 100, "-", null)]);
        results.Add("one", 2, [Sample.Failed(Row.Boot, 1, "it fell")]);
        Assert.Null(results.Median("one", "boot"));
        Assert.Equal("it fell", results.Problem("one", "boot"));
    }

    [Fact]
    public void The_table_shows_medians_and_the_ratios_to_those_before()
    {
        Row row = Row.All.Single(r => r.Name == "getppid");
        var results = new Results();
        results.Add("native", 1, [new Sample("getppid", 10, 2_000, 2_000, "0", null)]);
        results.Add("tcg", 1, [new Sample("getppid", 10, 8_000, 8_000, "0", null)]);
        results.Add("new", 1, [new Sample("getppid", 10, 4_000, 4_000, "0", null)]);
        string[] lines = ResultTable.Format(results, [row], ["native", "tcg", "new"], ["native", "tcg"]).Split('\n');
        Assert.Equal(["test", "unit", "native", "tcg", "/native", "new", "/native", "/tcg"], Cells(lines[0]));
        Assert.Equal(["getppid", "us", "0.200", "0.800", "4.00", "0.400", "2.00", "0.500"], Cells(lines[2]));
    }

    [Theory]
    [InlineData(12_345.6, "12,346")]
    [InlineData(99.95, "100.0")]
    [InlineData(1.234, "1.23")]
    [InlineData(0.01234, "0.012")]
    public void Figures_are_short(double value, string expected) => Assert.Equal(expected, ResultTable.Figure(value));

    private static string[] Cells(string line) => line.Split('|', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}
