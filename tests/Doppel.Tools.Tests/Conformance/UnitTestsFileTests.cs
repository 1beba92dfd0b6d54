using Doppel.Conformance;

namespace Doppel.Tools.Tests.Conformance;

public sealed class UnitTestsFileTests
{
    [Fact]
    public void Sections_are_read_with_their_values()
    {
        IReadOnlyList<Entry> entries = Read(
            """
            # comment
            [first]
            file = one.flat
            smp = 2
            test_args = 'a b'
            qemu_params = -cpu max,+x -m 2048
            arch = x86_64
            timeout = 30
            groups = g nodefault

            [second]
            file = two.flat
            accel = kvm
            """);
        Assert.Equal(2, entries.Count);
        Assert.Equal(("first", "one.flat", 2, "a b", "x86_64", TimeSpan.FromSeconds(30)), (entries[0].Name, entries[0].File, entries[0].Processors, entries[0].Arguments, entries[0].Architecture, entries[0].Timeout));
        Assert.Equal("max,+x", entries[0].Option("-cpu"));
        Assert.Equal("2048", entries[0].Option("-m"));
        Assert.Equal(["g", "nodefault"], entries[0].Groups);
        Assert.Equal((1, "", null, "kvm"), (entries[1].Processors, entries[1].Arguments, entries[1].Architecture, entries[1].Accelerator));
    }

    [Fact]
    public void A_line_that_is_nothing_is_named()
    {
        string message = Assert.Throws<ConformanceException>(() => Read("[a]\nnonsense\n")).Message;
        Assert.Contains(":2:", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Report_lines_are_counted_by_their_first_word()
    {
        var counts = new Counts();
        foreach (string line in new[] { "enabling apic", "PASS: x: y\r", "FAIL: x: PASS: z\r", "SKIP: s", "XFAIL: f", "Unhandled exception 13 #GP at ip 0", "SUMMARY: 4 tests" })
        {
            counts.Take(line);
        }

        Assert.Equal((1, 1, 1, 1), (counts.Pass, counts.Fail, counts.Skip, counts.Expected));
        Assert.Equal("Unhandled exception 13 #GP at ip 0", counts.Abortion);
        Assert.Equal("SUMMARY: 4 tests", counts.LastLine);
    }

    private static IReadOnlyList<Entry> Read(string text)
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, text);
            return UnitTestsFile.Read(path);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
