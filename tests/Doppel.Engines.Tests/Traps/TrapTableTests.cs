using System.Text.RegularExpressions;

namespace Doppel.Engines.Tests.Traps;

public sealed partial class TrapTableTests
{
    [Fact]
    public void Each_of_the_fifty_traps_names_tests_that_exist()
    {
        string root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "Doppel.slnx")))
            root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException("Doppel.slnx is in no folder above the tests");
        string page = File.ReadAllText(Path.Combine(root, "docs", "conformance.md"));
        ILookup<string, string> sources = Directory.EnumerateFiles(Path.Combine(root, "tests"), "*Tests.cs", SearchOption.AllDirectories)
            .ToLookup(path => Path.GetFileNameWithoutExtension(path), File.ReadAllText);
        string[] missing =
        [
            .. TestName().Matches(page)
                .Where(name => !sources[name.Groups[1].Value].Any(text => text.Contains($" {name.Groups[2].Value}(", StringComparison.Ordinal)))
                .Select(name => name.Value),
        ];
        Assert.Empty(missing);
        string[] rows = [.. page.Split('\n').Where(line => Row().IsMatch(line))];
        Assert.Equal(Enumerable.Range(1, 50), rows.Select(row => int.Parse(Row().Match(row).Groups[1].Value, provider: null)));
        Assert.All(rows, row => Assert.Matches(TestName(), row));
    }

    [GeneratedRegex(@"`(\w+Tests)\.(\w+)`")]
    private static partial Regex TestName();

    [GeneratedRegex(@"^\| (\d+) \|")]
    private static partial Regex Row();
}
