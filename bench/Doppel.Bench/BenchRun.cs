using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>Builds what is run, runs it in turn, prints the table.</summary>
internal static class BenchRun
{
    private const string Native = "native";
    private const string Tcg = "tcg";
    private const string DefaultImage = "busybox";
    private const string ToolsImage = "debian-bench";

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

        if (options.Rows.Any(Row.Migration.Contains))
        {
            return options.Rows.All(Row.Migration.Contains)
                ? await MigrationBench.RunAsync(options, FindRoot(), cancel)
                : throw new BenchException($"--rows: those of {BenchOptions.MigrationRows} have a table of their own; without the others they can be run");
        }

        if (options.Rows.Any(Row.Life.Contains))
        {
            return options.Rows.All(Row.Life.Contains)
                ? await LifeBench.RunAsync(options, FindRoot(), cancel)
                : throw new BenchException($"--rows: those of {BenchOptions.LifeRows} have a table of their own; without the others they can be run");
        }

        if (options.Rows.Any(Row.Screen.Contains))
        {
            return options.Rows.All(Row.Screen.Contains)
                ? await ScreenBench.RunAsync(options, FindRoot(), cancel)
                : throw new BenchException($"--rows: those of {BenchOptions.ScreenRows} have a table of their own; without the others they can be run");
        }

        if (options.Rows.Any(Row.Bios.Contains))
        {
            return options.Rows.All(Row.Bios.Contains)
                ? await FirmwareBench.RunAsync(options, FindRoot(), cancel)
                : throw new BenchException($"--rows: those of {BenchOptions.BiosRows} have a table of their own; without the others they can be run");
        }

        if (options.Copies > 1 && (options.NeedsDisk || options.NeedsFio || options.NeedsSwitch))
        {
            throw new BenchException($"--copies: copies of a row that has a disk or a partner would get into each other's way; without --rows {BenchOptions.SwitchRows}, {BenchOptions.DiskRows} and {BenchOptions.FioRows} it can be run");
        }

        string root = FindRoot();
        string output = Path.Combine(root, "artifacts", "bench");
        Directory.CreateDirectory(output);
        string? modules = !options.NeedsNetwork && !options.NeedsSwitch && !options.NeedsDisk && !options.NeedsFio ? null : options.Kernel is null ? ImageStore.ForUser().Find(DefaultImage)?.InitrdPath
            : throw new BenchException($"--rows: those of network and disk need the drivers of the image '{DefaultImage}'; without --kernel they can be run");
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
        var equipment = new Equipment(peer, [.. MakeDisks(options, output)], options.NeedsSwitch ? FreePort() : null, options.Rows.Contains(Row.System) ? FindSystem() : null);
        equipment.TellHost();
        List<IContestant> contestants = Contestants(options, root, kernel, files, logs, equipment);
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
                    engine, scale => Doppel(options, root, kernel, files, logs, engine, engine + "-rate", scale, Equipment.None), options.ScaleOf(engine), cancel);
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

    private static List<IContestant> Contestants(BenchOptions options, string root, string kernel, GuestFiles files, string logs, Equipment equipment)
    {
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
                        "-kernel", kernel, "-initrd", files.Initrd, "-append", append + equipment.Append, .. equipment.Qemu],
                    options.ScaleOf(Tcg),
                    options.Limits,
                    logs,
                    equipment.QemuSystem(options.Memory),
                    equipment.Switch is null ? null : ["-accel", "tcg", "-m", options.Memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
                        "-kernel", kernel, "-initrd", files.Initrd, "-append", Equipment.PartnerAppend, .. equipment.QemuPartner]));
                break;
            case "none":
                break;
            default:
                throw new BenchException($"--peer: '{options.Peer}' is neither qemu nor none");
        }

        contestants.AddRange(options.Engines.Select(engine => Doppel(options, root, kernel, files, logs, engine, engine, options.ScaleOf(engine), equipment)));
        if (options.Copies > 1)
        {
            contestants.AddRange(options.Engines.Select(engine =>
                Doppel(options, root, kernel, files, logs, engine, Parallel(engine, options), options.ScaleOf(engine), equipment, options.Copies)));
        }

        return contestants.Count > 0 ? contestants : throw new BenchException("--engines none, --peer none and --no-native leave nothing to run");
    }

    private static string Parallel(string engine, BenchOptions options) => $"{engine} x{options.Copies}";

    /// <summary>How much more several vCPUs do than one: the geometric mean over the programs.</summary>
    private static void PrintThroughput(BenchOptions options, Results results)
    {
        foreach (string engine in options.Engines)
        {
            double[] gains = [.. options.Rows.Where(row => row.IsProgram)
                .Select(row => options.Copies * results.Median(engine, row.Name) / results.Median(Parallel(engine, options), row.Name)).OfType<double>()];
            if (gains.Length > 0)
            {
                double mean = Math.Exp(gains.Average(Math.Log));
                Console.WriteLine($"{engine}: {options.Copies} copies on {options.Copies} vCPUs do {ResultTable.Figure(mean)} times as much as one on one");
            }
        }
    }

    private static MachineContestant Doppel(
        BenchOptions options, string root, string kernel, GuestFiles files, string logs, string engine, string name, double scale, Equipment equipment, int copies = 1) => new(
            name,
            Path.Combine(root, "doppel"),
            append => ["run", "--kernel", kernel, "--initrd", files.Initrd, "--append", append + equipment.Append + $" copies={copies}", "--memory", options.Memory, "--engine", engine, "--cpus", copies.ToString(CultureInfo.InvariantCulture),
                "--serial", "stdio", "--stats", .. equipment.Doppel],
            scale,
            options.Limits,
            logs,
            equipment.DoppelSystem(options.Memory, engine, copies),
            equipment.Switch is null ? null : ["run", "--name", "bench-partner", "--kernel", kernel, "--initrd", files.Initrd, "--append", Equipment.PartnerAppend, "--memory", options.Memory,
                "--engine", engine, "--serial", "stdio", .. equipment.DoppelPartner]);

    private static IEnumerable<BenchDisk> MakeDisks(BenchOptions options, string output)
    {
        if (options.NeedsDisk)
        {
            yield return new BenchDisk(Equipment.DiskVariable, NewDisk("disk.img"));
        }

        if (options.NeedsFio)
        {
            GuestImage tools = Find(ToolsImage, BenchOptions.FioRows, $"--name {ToolsImage} --packages fio");
            yield return new BenchDisk(Equipment.FioVariable, NewDisk("fio.img"));
            yield return new BenchDisk(Equipment.ToolsVariable, tools.DiskPath!, IsReadOnly: true, Part: "1");
        }

        string NewDisk(string name)
        {
            string path = Path.Combine(output, name);
            DiskFile.Write(path);
            return path;
        }
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    private static GuestImage FindSystem() => Find(DebianImageBuilder.ImageName, Row.System.Name, "");

    private static GuestImage Find(string name, string rows, string options) =>
        ImageStore.ForUser().Find(name) is { DiskPath: not null } image ? image
            : throw new BenchException($"--rows {rows}: there is no image '{name}' with a disk: make it by ./doppel image build {DebianImageBuilder.ImageName} {options}".TrimEnd());

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
