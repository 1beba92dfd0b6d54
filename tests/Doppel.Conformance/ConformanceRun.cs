namespace Doppel.Conformance;

/// <summary>Runs the entries of a tree one by one.</summary>
internal static class ConformanceRun
{
    /// <summary>Returns 0 if every assertion held, otherwise 1. Throws <see cref="ConformanceException"/> if nothing can be run.</summary>
    public static async Task<int> RunAsync(
        Vmm vmm, string tree, IReadOnlyList<string> only, int maxProcessors, TimeSpan timeout, bool all, string? json, CancellationToken cancel)
    {
        string configuration = Path.Combine(tree, "x86", "unittests.cfg");
        if (!File.Exists(configuration))
        {
            throw new ConformanceException($"there is no {configuration}: give a tree of kvm-unit-tests that was configured and built");
        }

        string architecture = Architecture(tree);
        IReadOnlyList<Entry> entries = UnitTestsFile.Read(configuration);
        string? unknown = only.FirstOrDefault(name => entries.All(entry => !IsNamed(entry, name)));
        if (unknown is not null)
        {
            throw new ConformanceException($"--entries: {configuration} has no entry or file '{unknown}'");
        }

        if (vmm.BuildsItself)
        {
            await KernelRun.PrepareAsync(vmm.File, cancel);
        }

        string logs = Path.Combine(FindRoot(), "artifacts", "conformance", $"{vmm.Name}-{architecture}");
        Directory.CreateDirectory(logs);
        var outcomes = new List<Outcome>();
        Console.WriteLine(Report.Head);
        foreach (Entry entry in entries.Where(entry => only.Count == 0 || only.Any(name => IsNamed(entry, name))))
        {
            string kernel = Path.Combine(tree, "x86", entry.File);
            string? reason = entry.Architecture is { } needed && needed != architecture ? $"for {needed}"
                : !all && only.Count == 0 && entry.Groups.Contains("nodefault") ? "only on demand"
                : !File.Exists(kernel) ? "not built"
                : vmm.Refusal(entry);
            Outcome outcome = reason is not null
                ? Outcome.Left(entry, reason)
                : await KernelRun.RunAsync(
                    vmm, entry, kernel, Math.Min(entry.Processors, maxProcessors), entry.Timeout ?? timeout, Path.Combine(logs, entry.Name + ".log"), cancel);
            outcomes.Add(outcome);
            Console.WriteLine(Report.Line(outcome));
        }

        Console.WriteLine();
        Console.Write(Report.Summary(outcomes));
        if (json is not null)
        {
            await File.WriteAllTextAsync(json, Report.Json(vmm.Name, outcomes), cancel);
        }

        return outcomes.All(o => o.Ending is Ending.Passed or Ending.Skipped or Ending.NotRun) ? 0 : 1;
    }

    /// <summary>Writes the environment of kernels that run as on hardware; returns its path.</summary>
    public static string WriteEnvironment(string root)
    {
        string directory = Path.Combine(root, "artifacts", "conformance");
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, "environment");
        File.WriteAllText(path, "TEST_DEVICE=0\n");
        return path;
    }

    /// <summary>The repository's directory.</summary>
    public static string FindRoot()
    {
        for (string? directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            if (File.Exists(Path.Combine(directory, "Doppel.slnx")))
            {
                return directory;
            }
        }

        throw new ConformanceException($"no Doppel.slnx above {AppContext.BaseDirectory}: the runner belongs inside the repository");
    }

    private static bool IsNamed(Entry entry, string name) => entry.Name == name || entry.File == name || entry.File == name + ".flat";

    private static string Architecture(string tree)
    {
        const string Key = "ARCH=";
        string configuration = Path.Combine(tree, "config.mak");
        string? line = File.Exists(configuration) ? File.ReadLines(configuration).FirstOrDefault(l => l.StartsWith(Key, StringComparison.Ordinal)) : null;
        return line is null ? throw new ConformanceException($"{configuration} does not say {Key}: configure the tree first") : line[Key.Length..].Trim();
    }
}
