using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>
/// Moves machines between two daemons, and the same guests between two QEMUs: how long each stands still, and how long it takes.
/// Each daemon is in a network namespace of its own, which needs root; without it they talk over this host's loopback, and there is no web row.
/// </summary>
internal static class MigrationBench
{
    private const string Machine = "m", Loaded = "@bench loaded";
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(2);

    /// <summary>Prints the table. Returns 0, or 1 if a row failed.</summary>
    public static async Task<int> RunAsync(BenchOptions options, string root, CancellationToken cancel)
    {
        string output = Path.Combine(root, "artifacts", "bench");
        _ = Directory.CreateDirectory(output);
        GuestImage image = ImageStore.ForUser().Find("busybox") ?? throw new BenchException("there is no image 'busybox': make it by ./doppel image pull busybox");
        string kernel = options.Kernel ?? image.KernelPath;
        GuestFiles files = await GuestFiles.BuildAsync(Path.Combine(root, "bench"), output, options.Busybox, image.InitrdPath, cancel);
        // The command builds itself on first use.
        await Tool.RunAsync(Path.Combine(root, "doppel"), ["version"], cancel);
        string program = Path.Combine(root, "artifacts", "publish", "doppel", "doppel");
        var lines = new List<string> { "row                     VMM          stood still, ms (each)          longest wait, ms   whole, s   moved, MiB" };
        int failed = 0;
        foreach (Row row in options.Rows)
        {
            (string load, int downtime) = row.Name switch
            {
                "migrate-idle" => ("idle", 60),
                "migrate-dirty" => ("dirty:50", 150),
                _ => ("web", 250),
            };
            string append = $"console=ttyS0 quiet panic=-1 load={load}";
            try
            {
                IReadOnlyList<Move> moves = await MoveDoppelAsync(program, kernel, files.Initrd, append, downtime, load == "web", options, cancel);
                lines.Add(Line(row, "doppel", moves));
                if (options.Peer == "qemu" && load != "web")
                {
                    lines.Add(Line(row, "tcg", [await QemuMigration.MoveAsync(kernel, files.Initrd, append, options.Memory, downtime, options.Limits.Boot, cancel)]));
                }
            }
            catch (Exception e) when (e is BenchException or IOException or TimeoutException or JsonException)
            {
                failed++;
                lines.Add($"{row.Title,-24}failed: {e.Message}");
            }
        }

        Console.WriteLine(string.Join('\n', lines));
        return failed == 0 ? 0 : 1;
    }

    private static string Line(Row row, string vmm, IReadOnlyList<Move> moves)
    {
        string stood = string.Join(' ', moves.Select(move => move.StoodStill.ToString("0", CultureInfo.InvariantCulture)));
        string wait = moves[0].LongestWait is null ? "" : string.Join(' ', moves.Select(move => move.LongestWait!.Value.ToString("0", CultureInfo.InvariantCulture)));
        return string.Create(CultureInfo.InvariantCulture, $"{row.Title,-24}{vmm,-13}{stood,-32}{wait,-19}{moves.Average(move => move.Seconds),-11:0.00}{moves.Average(move => move.Bytes) / (1 << 20):0.0}");
    }

    // There and back again, as often as there are rounds.
    private static async Task<IReadOnlyList<Move>> MoveDoppelAsync(string program, string kernel, string initrd, string append, int downtime, bool isWeb, BenchOptions options, CancellationToken cancel)
    {
        using BenchNetwork? network = isWeb || Environment.IsPrivilegedProcess ? await BenchNetwork.CreateAsync(cancel) : null;
        await using var here = new BenchDaemon(program, network?.Namespaces[0], network?.Addresses[0]);
        await using var there = new BenchDaemon(program, network?.Namespaces[1], network?.Addresses[1]);
        string[] card = isWeb ? ["--net", $"tap={BenchNetwork.Tap}"] : ["--net", "none"];
        _ = await here.RunAsync(["run", "--detach", "--name", Machine, "--kernel", kernel, "--initrd", initrd, "--append", append, "--memory", options.Memory, .. card], cancel);
        long begin = Stopwatch.GetTimestamp();
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while (!(await here.RunAsync(["logs", Machine], cancel)).Contains(Loaded, StringComparison.Ordinal))
        {
            if (Stopwatch.GetElapsedTime(begin) > options.Limits.Boot)
            {
                throw new BenchException("the guest was not ready in time");
            }

            _ = await timer.WaitForNextTickAsync(cancel);
        }

        await using WebClient? client = isWeb ? new WebClient("10.77.0.2") : null;
        var moves = new List<Move>();
        (BenchDaemon from, BenchDaemon to) = (here, there);
        for (int i = 0; i < 2 * options.Rounds; i++, (from, to) = (to, from))
        {
            await Task.Delay(Settling, cancel);
            client?.Reset();
            string said = await from.RunAsync(["migrate", Machine, .. to.Target, "--downtime", $"{downtime}ms", "--json"], cancel);
            JsonElement end = JsonDocument.Parse(said).RootElement;
            if (client is not null)
            {
                // The requests that waited are answered, and the long connection with them.
                await Task.Delay(Settling, cancel);
            }

            double stood = end.TryGetProperty("downtimeSeconds", out JsonElement seconds) ? seconds.GetDouble() * 1000 : throw new BenchException($"the machine did not move: {said}");
            moves.Add(new Move(stood, end.GetProperty("seconds").GetDouble(), end.GetProperty("sentBytes").GetDouble(), client?.Check()));
        }

        return moves;
    }
}

/// <summary>One migration.</summary>
/// <param name="StoodStill">Milliseconds that the guest stood still, as its VMM says.</param>
/// <param name="Seconds">From the command to the end.</param>
/// <param name="Bytes">Sent.</param>
/// <param name="LongestWait">Milliseconds of the longest request of a client meanwhile; null for no client.</param>
internal sealed record Move(double StoodStill, double Seconds, double Bytes, double? LongestWait);
