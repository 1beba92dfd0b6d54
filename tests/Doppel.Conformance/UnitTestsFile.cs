using System.Globalization;

namespace Doppel.Conformance;

/// <summary>Reads unittests.cfg of kvm-unit-tests (its form: docs/unittests.md there).</summary>
internal static class UnitTestsFile
{
    /// <summary>All sections in their order. Throws <see cref="ConformanceException"/> with the line of what is not understood.</summary>
    public static IReadOnlyList<Entry> Read(string path)
    {
        var entries = new List<Entry>();
        string? name = null;
        var values = new Dictionary<string, string>();
        int number = 0;
        foreach (string raw in File.ReadLines(path))
        {
            number++;
            string line = raw.Trim();
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            if (line[0] == '[' && line[^1] == ']')
            {
                Close();
                name = line[1..^1];
                values.Clear();
                continue;
            }

            int equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
            {
                throw new ConformanceException($"{path}:{number}: '{line}' is neither [SECTION] nor KEY = VALUE");
            }

            values[line[..equals].Trim()] = line[(equals + 1)..].Trim();
        }

        Close();
        return entries;

        void Close()
        {
            if (name is not null && values.TryGetValue("file", out string? file))
            {
                entries.Add(new Entry(
                    name,
                    file,
                    int.TryParse(values.GetValueOrDefault("smp"), NumberStyles.None, CultureInfo.InvariantCulture, out int processors) ? processors : 1,
                    Expand(values.GetValueOrDefault("test_args", "")),
                    (values.GetValueOrDefault("qemu_params") ?? values.GetValueOrDefault("extra_params", "")).Split(' ', StringSplitOptions.RemoveEmptyEntries),
                    values.GetValueOrDefault("arch"),
                    int.TryParse(values.GetValueOrDefault("timeout"), NumberStyles.None, CultureInfo.InvariantCulture, out int seconds)
                        ? TimeSpan.FromSeconds(seconds) : null,
                    values.GetValueOrDefault("groups", "").Split(' ', StringSplitOptions.RemoveEmptyEntries),
                    values.GetValueOrDefault("accel")));
            }
        }
    }

    // The file is written for a shell: quotes around the arguments, and one test that is told the date.
    private static string Expand(string arguments) => arguments.Trim('\'', '"')
        .Replace("`date +%s`", DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
}
