using System.Diagnostics;
using System.Globalization;
using System.Text;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>
/// What a running daemon does with machines of the default guest, asked by its API: snapshot, restore, clone, many at once. The
/// daemon has directories of its own.
/// </summary>
internal static class LifeBench
{
    private const string Base = "base", Snapshot = "s0";
    private const int Repeats = 7, Clones = 20;
    private const ulong Memory = 512 << 20;

    // What a machine that lives on has left the daemon to do; a user's next command isn't as quick as a program's either.
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(1);

    /// <summary>Prints the table. Returns 0, or 1 if a row failed.</summary>
    public static async Task<int> RunAsync(BenchOptions options, string root, CancellationToken cancel)
    {
        GuestImage image = ImageStore.ForUser().Find(BusyboxImageBuilder.ImageName) ?? throw new BenchException("there is no image 'busybox': make it by ./doppel image pull busybox");
        await Tool.RunAsync(Path.Combine(root, "doppel"), ["version"], cancel);
        await using var daemon = new BenchDaemon(Path.Combine(root, "artifacts", "publish", "doppel", "doppel"), null, null);
        using var client = new DaemonClient(daemon.Socket);
        var life = new Life(client, options, cancel);
        Console.WriteLine($"{"row",-66}{"median",12}{"from",10}{"to",10}");
        // What others begin with.
        _ = await client.CreateAsync(new CreateRequest { Spec = MachineSpec.ForImage(image) with { Name = Base, Memory = Memory, Overcommit = true } }, cancel);
        int failed = 0;
        foreach ((string name, Func<Row, Task> measure) in life.Rows)
        {
            Row row = Row.Life.Single(row => row.Name == name);
            try
            {
                await measure(row);
            }
            catch (Exception e) when (e is BenchException or IOException or ApiException or OperationCanceledException && !cancel.IsCancellationRequested)
            {
                failed++;
                Console.WriteLine($"{row.Title,-66}failed: {e.Message}");
            }
        }

        return failed == 0 ? 0 : 1;
    }

    private sealed class Life(DaemonClient client, BenchOptions options, CancellationToken cancel)
    {
        /// <summary>The rows in their order; each leaves what the next needs, and prints only if it was asked for.</summary>
        public IEnumerable<(string Name, Func<Row, Task> Measure)> Rows =>
        [
            ("life-boot", BootAsync), ("life-snapshot", SnapshotAsync), ("life-clone", CloneAsync), ("life-restore", RestoreAsync), ("life-clones", ClonesAsync), ("life-many", ManyAsync),
        ];

        private async Task BootAsync(Row row) => Print(row, [await TimeAsync(async () =>
        {
            _ = await client.DoAsync(Base, "start", cancel);
            await AnswerAsync(Base);
        })]);

        private async Task SnapshotAsync(Row row)
        {
            var stops = new List<double>();
            var whole = new List<double>();
            for (int i = 0; i < (options.Rows.Contains(row) ? Repeats : 1); i++)
                whole.Add(await TimeAsync(async () => stops.Add((await client.SnapshotAsync(Base, new SnapshotRequest { Name = $"s{i}", IsFull = true }, cancel)).StoppedSeconds)));
            Print(row, stops);
            Print(row, whole, ", all of it");
        }

        private async Task CloneAsync(Row row)
        {
            if (!options.Rows.Contains(row))
                return;
            var made = new List<double>();
            var run = new List<double>();
            for (int i = 0; i < Repeats; i++)
            {
                string name = $"one{i}";
                long begin = Stopwatch.GetTimestamp();
                _ = await client.CloneAsync(Base, new CloneRequest(name), null, cancel);
                made.Add(Stopwatch.GetElapsedTime(begin).TotalSeconds);
                _ = await client.DoAsync(name, "start", cancel);
                run.Add(Stopwatch.GetElapsedTime(begin).TotalSeconds);
                await AnswerAsync(name);
                await client.RemoveAsync(name, force: true, cancel);
                await Task.Delay(Between, cancel);
            }

            Print(row, made, ", until it is there");
            Print(row, run, ", until it runs");
        }

        private async Task RestoreAsync(Row row)
        {
            _ = await client.DoAsync(Base, "kill", cancel);
            var run = new List<double>();
            var answered = new List<double>();
            for (int i = 0; i < (options.Rows.Contains(row) ? Repeats : 0); i++)
            {
                await Task.Delay(Between, cancel);
                long begin = Stopwatch.GetTimestamp();
                _ = await client.DoAsync(Base, $"snapshots/{Snapshot}/restore", cancel);
                run.Add(Stopwatch.GetElapsedTime(begin).TotalSeconds);
                await AnswerAsync(Base);
                answered.Add(Stopwatch.GetElapsedTime(begin).TotalSeconds);
                _ = await client.DoAsync(Base, "kill", cancel);
            }

            Print(row, run, ", until it runs");
            Print(row, answered, ", until its shell answers");
        }

        private async Task ClonesAsync(Row row)
        {
            if (!options.Rows.Contains(row))
                return;
            await Task.Delay(Between, cancel);
            Print(row, [await TimeAsync(() => Parallel.ForEachAsync(Names("clone", Clones), Few, async (name, stop) => await BeginAsync(name, stop)))], ", until all run");
            await RemoveAsync(Names("clone", Clones));
        }

        private async Task ManyAsync(Row row)
        {
            if (!options.Rows.Contains(row))
                return;
            string[] names = Names("many", options.Machines ?? (int)row.Count);
            double all = await TimeAsync(() => Parallel.ForEachAsync(names, Few, async (name, stop) =>
            {
                await BeginAsync(name, stop);
                await AnswerAsync(name);
            }));
            Print(row, [all], $": {names.Length} from clones, until each has answered");
            Print(row, [await TimeAsync(() => Parallel.ForEachAsync(names, Few, async (name, stop) => await AnswerAsync(name)))], ": until each answers once more");
            double guest = 0, own = 0;
            foreach (MachineView machine in await client.ListAsync(cancel))
            {
                if (machine.ProcessId is not int process)
                    continue;
                (double Guest, double Own) memory = MemoryOf(process);
                guest += memory.Guest;
                own += memory.Own;
            }

            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"   host memory of each: pages of its guest",-66}{guest / names.Length,8:0.0} MiB\n{"   host memory of each: all else, shared pages in parts",-66}{own / names.Length,8:0.0} MiB"));
            await RemoveAsync(names);
        }

        private ParallelOptions Few => new() { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = cancel };

        private static string[] Names(string prefix, int count) => [.. Enumerable.Range(0, count).Select(i => $"{prefix}{i}")];

        private async Task BeginAsync(string name, CancellationToken stop)
        {
            _ = await client.CloneAsync(Base, new CloneRequest(name) { Snapshot = Snapshot }, null, stop);
            _ = await client.DoAsync(name, "start", stop);
        }

        private Task RemoveAsync(string[] names) => Parallel.ForEachAsync(names, Few, async (name, stop) => await client.RemoveAsync(name, force: true, stop));

        // A shell that is not there yet reads the line when it is; what it makes of it is not what was typed.
        private async Task AnswerAsync(string name)
        {
            using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            time.CancelAfter(options.Limits.Boot);
            MachineView machine = await client.GetAsync(name, time.Token);
            using ControlClient control = await ControlClient.ConnectAsync(machine.Socket ?? throw new BenchException($"{name} has ended"), time.Token);
            Stream console = await control.AttachConsoleAsync(time.Token);
            string mark = Guid.NewGuid().ToString("N")[..12];
            await console.WriteAsync(Encoding.ASCII.GetBytes($"echo {mark[..6]}''{mark[6..]}\n"), time.Token);
            var seen = new StringBuilder();
            byte[] buffer = new byte[4096];
            while (!seen.ToString().Contains(mark, StringComparison.Ordinal))
            {
                int count = await console.ReadAsync(buffer, time.Token);
                if (count == 0)
                    throw new BenchException($"{name} has ended");
                _ = seen.Append(Encoding.ASCII.GetString(buffer, 0, count));
            }
        }

        private void Print(Row row, List<double> seconds, string what = "")
        {
            if (!options.Rows.Contains(row) || seconds.Count == 0)
                return;
            seconds.Sort();
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{row.Title + what,-66}{seconds[seconds.Count / 2] * 1000,9:0.0} ms{seconds[0] * 1000,10:0.0}{seconds[^1] * 1000,10:0.0}"));
        }
    }

    // MiB: proc(5), /proc/pid/smaps, proportional set size; guest memory is the memfd doppel-ram and, of what was restored, the file "memory", which may be deleted.
    private static (double Guest, double Own) MemoryOf(int process)
    {
        double guest = 0, own = 0;
        bool isGuest = false;
        foreach (string line in File.ReadLines($"/proc/{process}/smaps"))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (!fields[0].EndsWith(':'))
                isGuest = line.Contains("doppel-ram", StringComparison.Ordinal) || line.Contains("/memory", StringComparison.Ordinal);
            else if (fields[0] == "Pss:")
                _ = isGuest ? guest += double.Parse(fields[1], CultureInfo.InvariantCulture) / 1024 : own += double.Parse(fields[1], CultureInfo.InvariantCulture) / 1024;
        }

        return (guest, own);
    }

    private static async Task<double> TimeAsync(Func<Task> action)
    {
        long begin = Stopwatch.GetTimestamp();
        await action();
        return Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }
}
