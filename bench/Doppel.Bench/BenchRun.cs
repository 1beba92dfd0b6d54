using System.Globalization;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>Builds what is run, runs it in turn, prints the table.</summary>
internal static class BenchRun
{
    private const string Native = "native";
    private const string Tcg = "tcg";
    private const string ServerVariable = "BENCH_SERVER";
    private const string DefaultImage = "busybox";

    /// <summary>Returns 0, or 1 if a cell failed. Throws <see cref="BenchException"/> if nothing can be run.</summary>
    public static async Task<int> RunAsync(BenchOptions options, CancellationToken cancel)
    {
        if (options.Rounds < 1)
        {
            throw new BenchException($"--rounds: {options.Rounds} is not a number of 1 or more");
        }

        if (options.Copies is < 1 or > 64)
        {
            throw new BenchException($"--copies: {options.Copies} is not a number from 1 to 64");
        }

        string root = FindRoot();
        string output = Path.Combine(root, "artifacts", "bench");
        Directory.CreateDirectory(output);
        string? modules = !options.NeedsNetwork ? null : options.Kernel is null ? ImageStore.ForUser().Find(DefaultImage)?.InitrdPath
            : throw new BenchException($"--rows {BenchOptions.NetworkRows}: these rows need the drivers of the image '{DefaultImage}'; without --kernel they can be run");
        GuestFiles files = await GuestFiles.BuildAsync(Path.Combine(root, "bench"), output, options.Busybox, modules, cancel);
        string kernel = options.Kernel ?? ImageStore.ForUser().Find(DefaultImage)?.KernelPath
            ?? throw new BenchException($"there is no image '{DefaultImage}': make it by ./doppel image pull {DefaultImage}, or name a kernel by --kernel");
        if (!File.Exists(kernel))
        {
            throw new BenchException($"--kernel: there is no file {kernel}");
        }

        string logs = Path.Combine(output, "logs");
        if (options.Engines.Count > 0)
        {
            // The command builds itself on first use, which is no part of a boot.
            await Tool.RunAsync(Path.Combine(root, "doppel"), ["version"], cancel);
        }

        using NetworkPeer? peer = options.NeedsNetwork ? new NetworkPeer() : null;
        if (peer is not null)
        {
            // The host's own programs; guests are told on their kernel's command line.
            Environment.SetEnvironmentVariable(ServerVariable, $"127.0.0.1:{peer.Port}");
        }

        List<IContestant> contestants = Contestants(options, root, kernel, files, logs, peer);
        var results = new Results();
        for (int round = 1; round <= options.Rounds; round++)
        {
            foreach (IContestant contestant in contestants)
            {
                Console.Error.WriteLine($"round {round} of {options.Rounds}: {contestant.Name}");
                results.Add(contestant.Name, round, await contestant.RunAsync(options.Rows, round, cancel));
            }
        }

        string[] names = [.. contestants.Select(c => c.Name)];
        Console.Write(ResultTable.Format(results, options.Rows, names, [Native, Tcg]));
        if (options.Copies > 1)
        {
            PrintThroughput(options, results);
        }

        var rates = new List<InstructionRate>();
        if (options.Rows.Any(row => row.Name == "shell"))
        {
            foreach (string engine in options.Engines)
            {
                Console.Error.WriteLine($"instructions a second: {engine}");
                InstructionRate? rate = await InstructionRate.MeasureAsync(
                    engine, scale => Doppel(options, root, kernel, files, logs, engine, engine + "-rate", scale), options.ScaleOf(engine), cancel);
                Console.WriteLine(rate is null
                    ? $"{engine}: no rate; see {logs}"
                    : $"{engine}: {ResultTable.Figure(rate.PerSecond / 1e6)} million guest instructions a second in the shell loop, {ResultTable.Figure(rate.InstructionsEach)} a turn");
                if (rate is not null)
                {
                    rates.Add(rate);
                }
            }
        }

        if (options.Json is { } path)
        {
            await File.WriteAllTextAsync(path, JsonReport.Format(results, options.Rows, contestants, rates, kernel), cancel);
        }

        return names.Any(name => options.Rows.Any(row => results.Problem(name, row.Name) is not null)) ? 1 : 0;
    }

    private static List<IContestant> Contestants(BenchOptions options, string root, string kernel, GuestFiles files, string logs, NetworkPeer? peer)
    {
        string[] card = peer is null ? [] : ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"];
        var contestants = new List<IContestant>();
        if (options.Native)
        {
            contestants.Add(new NativeContestant(files, options.ScaleOf(Native), options.Limits.Row));
        }

        switch (options.Peer)
        {
            case "qemu":
                contestants.Add(new MachineContestant(
                    Tcg,
                    "qemu-system-x86_64",
                    append => ["-accel", "tcg", "-m", options.Memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
                        "-kernel", kernel, "-initrd", files.Initrd, "-append", append + Server(peer), .. card],
                    options.ScaleOf(Tcg),
                    options.Limits,
                    logs));
                break;
            case "none":
                break;
            default:
                throw new BenchException($"--peer: '{options.Peer}' is neither qemu nor none");
        }

        contestants.AddRange(options.Engines.Select(engine => Doppel(options, root, kernel, files, logs, engine, engine, options.ScaleOf(engine), peer)));
        if (options.Copies > 1)
        {
            contestants.AddRange(options.Engines.Select(engine =>
                Doppel(options, root, kernel, files, logs, engine, Parallel(engine, options), options.ScaleOf(engine), peer, options.Copies)));
        }

        return contestants.Count > 0 ? contestants : throw new BenchException("--engines none, --peer none and --no-native leave nothing to run");
    }

    private static string Parallel(string engine, BenchOptions options) => $"{engine} x{options.Copies}";

    /// <summary>How much more several vCPUs do than one: the geometric mean over the programs.</summary>
    private static void PrintThroughput(BenchOptions options, Results results)
    {
        foreach (string engine in options.Engines)
        {
            double[] gains = [.. options.Rows.Where(row => row != Row.Boot)
                .Select(row => options.Copies * results.Median(engine, row.Name) / results.Median(Parallel(engine, options), row.Name)).OfType<double>()];
            if (gains.Length > 0)
            {
                double mean = Math.Exp(gains.Average(Math.Log));
                Console.WriteLine($"{engine}: {options.Copies} copies on {options.Copies} vCPUs do {ResultTable.Figure(mean)} times as much as one on one");
            }
        }
    }

    private static MachineContestant Doppel(
        BenchOptions options, string root, string kernel, GuestFiles files, string logs, string engine, string name, double scale, NetworkPeer? peer = null, int copies = 1) => new(
            name,
            Path.Combine(root, "doppel"),
            append => ["run", "--kernel", kernel, "--initrd", files.Initrd, "--append", append + Server(peer) + $" copies={copies}", "--memory", options.Memory, "--engine", engine, "--cpus", copies.ToString(CultureInfo.InvariantCulture),
                "--serial", "stdio", "--net", peer is null ? "none" : "user", "--stats"],
            scale,
            options.Limits,
            logs);

    // An unknown word of the kernel's command line becomes a variable of the guest's first process.
    private static string Server(NetworkPeer? peer) => peer is null ? "" : $" {ServerVariable}=10.0.2.2:{peer.Port}";

    private static string FindRoot()
    {
        for (string? directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            if (File.Exists(Path.Combine(directory, "Doppel.slnx")))
            {
                return directory;
            }
        }

        throw new BenchException($"no Doppel.slnx above {AppContext.BaseDirectory}: the runner belongs inside the repository");
    }
}
