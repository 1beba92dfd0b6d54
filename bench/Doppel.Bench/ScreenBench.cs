using System.Diagnostics;
using System.Globalization;

namespace Doppel.Bench;

/// <summary>
/// Scrolls a screen of text and a frame buffer of 1024x768x32 in a guest of one sector that SeaBIOS boots from a diskette
/// (programs/screen.S), and times the letters that it says between on its serial port.
/// </summary>
internal static class ScreenBench
{
    private const string Letters = "ABCDE";
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(2);

    /// <summary>Prints the table. Returns 0, or 1 if a row failed.</summary>
    public static async Task<int> RunAsync(BenchOptions options, string root, CancellationToken cancel)
    {
        string output = Path.Combine(root, "artifacts", "bench");
        _ = Directory.CreateDirectory(output);
        string diskette = await BuildAsync(root, output, cancel);
        await Tool.RunAsync(Path.Combine(root, "doppel"), ["version"], cancel);
        string program = Path.Combine(root, "artifacts", "publish", "doppel", "doppel");
        var doppel = new List<IReadOnlyList<double>>();
        var tcg = new List<IReadOnlyList<double>>();
        for (int round = 1; round <= options.Rounds; round++)
        {
            Console.Error.WriteLine($"round {round} of {options.Rounds}");
            doppel.Add(await TimeAsync(program, ["run", "--floppy", diskette, "--memory", "64M", "--net", "none", "--vga", "std"], cancel));
            if (options.Peer == "qemu")
                tcg.Add(await TimeAsync("qemu-system-x86_64", ["-accel", "tcg", "-m", "64", "-display", "none", "-vga", "std", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-drive", $"file={diskette},if=floppy,format=raw"], cancel));
        }

        Console.WriteLine("row                                        doppel, ms    tcg, ms   doppel/tcg");
        foreach (Row row in options.Rows)
        {
            int stretch = row.Name switch
            {
                "screen-text" => 0,
                "screen-frame" => 2,
                _ => 3,
            };
            double mine = Median(doppel, stretch);
            string line = string.Create(CultureInfo.InvariantCulture, $"{row.Title,-40}{mine * 1000,13:0.0}");
            if (tcg.Count != 0)
                line += string.Create(CultureInfo.InvariantCulture, $"{Median(tcg, stretch) * 1000,11:0.0}{mine / Median(tcg, stretch),13:0.000}");
            Console.WriteLine(line);
        }

        return 0;
    }

    private static async Task<string> BuildAsync(string root, string output, CancellationToken cancel)
    {
        string code = Path.Combine(output, "screen.o"), diskette = Path.Combine(output, "screen.img");
        await Tool.RunAsync("gcc", ["-c", "-m32", "-o", code, Path.Combine(root, "bench", "programs", "screen.S")], cancel);
        await Tool.RunAsync("ld", ["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", diskette, code], cancel);
        await using FileStream file = File.OpenWrite(diskette);
        file.SetLength(1440 << 10);
        return diskette;
    }

    /// <summary>Seconds between the letters.</summary>
    private static async Task<IReadOnlyList<double>> TimeAsync(string program, string[] arguments, CancellationToken cancel)
    {
        using Process machine = Tool.Start(program, arguments);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Longest);
        try
        {
            var times = new List<long>();
            byte[] one = new byte[1];
            while (times.Count < Letters.Length)
            {
                if (await machine.StandardOutput.BaseStream.ReadAsync(one, limit.Token) == 0)
                    throw new BenchException($"{program} ended before the guest had said {Letters}");
                if (one[0] == Letters[times.Count])
                    times.Add(Stopwatch.GetTimestamp());
            }

            return [.. times.Zip(times.Skip(1), (begin, end) => Stopwatch.GetElapsedTime(begin, end).TotalSeconds)];
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new BenchException($"{program}: the guest was not done after {Longest}");
        }
        finally
        {
            machine.Kill(entireProcessTree: true);
            await machine.WaitForExitAsync(CancellationToken.None);
        }
    }

    private static double Median(List<IReadOnlyList<double>> rounds, int stretch)
    {
        double[] sorted = [.. rounds.Select(round => round[stretch]).Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
