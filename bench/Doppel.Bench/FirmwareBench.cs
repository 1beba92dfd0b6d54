using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Doppel.Bench;

/// <summary>
/// Times what a BIOS starts, on the host's clock from the start of the VMM's process: Debian's GRUB from a CD to its menu, and Debian's
/// memtest86+ to a per cent of its pass over 64 MiB. Both talk on the first serial port, too.
/// </summary>
internal static partial class FirmwareBench
{
    private const string Entry = "the entry of the menu", Memtest = "/boot/memtest86+x64.bin", MemtestOptions = "console=ttyS0,115200";
    private const int PassPercent = 40;
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(5);

    /// <summary>Prints the table. Returns 0, or 1 if a row failed.</summary>
    public static async Task<int> RunAsync(BenchOptions options, string root, CancellationToken cancel)
    {
        string output = Path.Combine(root, "artifacts", "bench");
        _ = Directory.CreateDirectory(output);
        await Tool.RunAsync(Path.Combine(root, "doppel"), ["version"], cancel);
        string program = Path.Combine(root, "artifacts", "publish", "doppel", "doppel");
        int failed = 0;
        Console.WriteLine("row                                         doppel, s     tcg, s   doppel/tcg");
        foreach (Row row in options.Rows)
        {
            try
            {
                Console.WriteLine(await MeasureAsync(row, options, program, output, cancel));
            }
            catch (BenchException e)
            {
                failed++;
                Console.WriteLine($"{row.Title,-40}failed: {e.Message}");
            }
        }

        return failed == 0 ? 0 : 1;
    }

    /// <summary>True when the words of a serial console say that memtest86+ has come to a per cent of its pass.</summary>
    internal static bool HasPassed(string console) => Percentages().Matches(console).Any(found => int.Parse(found.Groups[1].Value, CultureInfo.InvariantCulture) >= PassPercent);

    private static async Task<string> MeasureAsync(Row row, BenchOptions options, string program, string output, CancellationToken cancel)
    {
        string[] mine, theirs;
        Func<string, bool> isThere;
        if (row.Name == Row.GrubName)
        {
            string disc = await MakeDiscAsync(output, cancel);
            (mine, theirs, isThere) = (["--cdrom", disc], ["-cdrom", disc], console => console.Contains(Entry, StringComparison.Ordinal));
        }
        else
        {
            if (!File.Exists(Memtest))
                throw new BenchException($"there is no {Memtest}: Debian's package memtest86+ has it");
            (mine, theirs, isThere) = (["--firmware", "bios", "--kernel", Memtest, "--append", MemtestOptions], ["-kernel", Memtest, "-append", MemtestOptions], HasPassed);
        }

        var doppel = new List<double>();
        var tcg = new List<double>();
        for (int round = 1; round <= options.Rounds; round++)
        {
            Console.Error.WriteLine($"{row.Name}: round {round} of {options.Rounds}");
            doppel.Add(await TimeAsync(program, ["run", "--memory", "64M", "--net", "none", "--vga", "std", .. mine], isThere, cancel));
            if (options.Peer == "qemu")
                tcg.Add(await TimeAsync("qemu-system-x86_64", ["-accel", "tcg", "-m", "64", "-display", "none", "-vga", "std", "-serial", "stdio", "-monitor", "none", "-nic", "none", .. theirs], isThere, cancel));
        }

        string line = string.Create(CultureInfo.InvariantCulture, $"{row.Title,-40}{Median(doppel),13:0.00}");
        return tcg.Count == 0 ? line : line + string.Create(CultureInfo.InvariantCulture, $"{Median(tcg),11:0.00}{Median(doppel) / Median(tcg),13:0.000}");
    }

    private static async Task<string> MakeDiscAsync(string output, CancellationToken cancel)
    {
        string files = Path.Combine(output, "grub"), disc = Path.Combine(output, "grub.iso");
        _ = Directory.CreateDirectory(Path.Combine(files, "boot", "grub"));
        await File.WriteAllTextAsync(Path.Combine(files, "boot", "grub", "grub.cfg"), $"serial --unit=0 --speed=115200\nterminal_output serial console\nset timeout=-1\nmenuentry \"{Entry}\" {{ true }}\n", cancel);
        await Tool.RunAsync("grub-mkrescue", ["-quiet", "-d", "/usr/lib/grub/i386-pc", "-o", disc, files], cancel);
        return disc;
    }

    private static async Task<double> TimeAsync(string program, string[] arguments, Func<string, bool> isThere, CancellationToken cancel)
    {
        long begin = Stopwatch.GetTimestamp();
        using Process machine = Tool.Start(program, arguments);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Longest);
        var console = new StringBuilder();
        try
        {
            byte[] buffer = new byte[4096];
            while (!isThere(console.ToString()))
            {
                int count = await machine.StandardOutput.BaseStream.ReadAsync(buffer, limit.Token);
                if (count == 0)
                    throw new BenchException($"{program} ended; the console shows:\n{console}");
                console.Append(Encoding.Latin1.GetString(buffer, 0, count));
            }

            return Stopwatch.GetElapsedTime(begin).TotalSeconds;
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new BenchException($"{program}: the guest was not there after {Longest}; the console shows:\n{console}");
        }
        finally
        {
            Tool.Kill(machine);
            await machine.WaitForExitAsync(CancellationToken.None);
        }
    }

    // Where the screen's second row says how much of the pass is done.
    [GeneratedRegex("\\e\\[2;[0-9]+H(?:\\e\\[[0-9;]*m)* *([0-9]+)%")]
    private static partial Regex Percentages();

    private static double Median(List<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
