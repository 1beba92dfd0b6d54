namespace Doppel.Conformance;

/// <summary>Counts the report lines of a kernel: a word, a colon, and what was tested.</summary>
internal sealed class Counts
{
    private readonly List<string> _failures = [];
    private string? _abortion;

    /// <summary>Lines "PASS: ".</summary>
    public int Pass { get; private set; }

    /// <summary>Lines "FAIL: " and "XPASS: ".</summary>
    public int Fail => _failures.Count;

    /// <summary>Lines "SKIP: ".</summary>
    public int Skip { get; private set; }

    /// <summary>Lines "XFAIL: " and "KFAIL: ".</summary>
    public int Expected { get; private set; }

    /// <summary>The last line that was not empty.</summary>
    public string LastLine { get; private set; } = "";

    /// <summary>The line that says why the kernel gave up, or the last one.</summary>
    public string Abortion => _abortion ?? LastLine;

    /// <summary>The lines behind <see cref="Fail"/>.</summary>
    public IReadOnlyList<string> Failures => _failures;

    /// <summary>Counts a line. A line that the test began with another text still counts by its report.</summary>
    public void Take(string raw)
    {
        string line = raw.TrimEnd();
        if (line.Length > 0)
        {
            LastLine = line;
        }

        if (line.StartsWith("Unhandled ", StringComparison.Ordinal) || line.Contains(": assert failed:", StringComparison.Ordinal)
            || line.StartsWith("ABORT: ", StringComparison.Ordinal))
        {
            _abortion ??= line;
        }

        int colon = line.IndexOf(": ", StringComparison.Ordinal);
        string word = colon < 0 ? "" : line[..colon];
        switch (word)
        {
            case "PASS":
                Pass++;
                break;
            case "FAIL" or "XPASS":
                _failures.Add(line);
                break;
            case "SKIP":
                Skip++;
                break;
            case "XFAIL" or "KFAIL":
                Expected++;
                break;
        }
    }
}
