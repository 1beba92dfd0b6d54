using System.ComponentModel;
using System.Diagnostics;

namespace Doppel.Conformance;

/// <summary>Runs one kernel and counts what it reports.</summary>
internal static class KernelRun
{
    /// <summary>Lets the command build itself, which is no part of a test's time. Throws <see cref="ConformanceException"/> if it fails.</summary>
    public static async Task PrepareAsync(string executable, CancellationToken cancel)
    {
        using Process process = Start(new ProcessStartInfo(executable, ["version"]) { RedirectStandardOutput = true });
        _ = await process.StandardOutput.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        if (process.ExitCode != 0)
        {
            throw new ConformanceException($"{executable} version failed with status {process.ExitCode}");
        }
    }

    /// <summary>Never longer than the timeout, whatever the kernel does. The output goes to <paramref name="log"/> too.</summary>
    public static async Task<Outcome> RunAsync(Vmm vmm, Entry entry, string kernel, int processors, TimeSpan timeout, string log, CancellationToken cancel)
    {
        var info = new ProcessStartInfo(vmm.File, vmm.Arguments(entry, kernel, processors))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Start(info);
        using StreamWriter writer = File.CreateText(log);
        await writer.WriteLineAsync($"{info.FileName} {string.Join(' ', info.ArgumentList)}");
        long begin = Stopwatch.GetTimestamp();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(timeout);
        Task<string> errors = process.StandardError.ReadToEndAsync(cancel);
        var counts = new Counts();
        bool timedOut = false;
        try
        {
            while (await process.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                await writer.WriteLineAsync(line);
                counts.Take(line);
            }

            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            timedOut = true;
        }
        finally
        {
            Kill(process);
        }

        await process.WaitForExitAsync(cancel);
        string complaint = (await errors).Trim();
        await writer.WriteLineAsync($"(stderr) {complaint}\n(status) {(timedOut ? "timed out" : process.ExitCode)}");
        Ending ending = timedOut ? Ending.TimedOut : Vmm.Meaning(process.ExitCode) ?? Ending.Broken;
        string note = ending switch
        {
            Ending.TimedOut => $"after {timeout.TotalSeconds:0} s; last: {counts.LastLine}",
            Ending.Aborted => counts.Abortion,
            Ending.Broken => $"last: {(complaint.Length > 0 ? complaint.Split('\n')[^1] : counts.LastLine)}",
            _ => "",
        };
        return new Outcome(
            entry, ending, timedOut ? null : process.ExitCode, counts.Pass, counts.Fail, counts.Skip, counts.Expected,
            Stopwatch.GetElapsedTime(begin), note, counts.Failures);
    }

    private static Process Start(ProcessStartInfo info)
    {
        try
        {
            return Process.Start(info) ?? throw new ConformanceException($"{info.FileName} did not start");
        }
        catch (Win32Exception e)
        {
            throw new ConformanceException($"{info.FileName} cannot be started: {e.Message}");
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (InvalidOperationException)
        {
            // It has ended.
        }
    }
}
