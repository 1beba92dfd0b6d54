using System.Diagnostics;
using System.Globalization;

namespace Doppel.Bench;

/// <summary>The host itself: the same executables as ordinary processes.</summary>
internal sealed class NativeContestant(GuestFiles files, double scale, TimeSpan timeout) : IContestant
{
    /// <inheritdoc/>
    public string Name => "native";

    /// <inheritdoc/>
    public double Scale => scale;

    /// <inheritdoc/>
    public async Task<IReadOnlyList<Sample>> RunAsync(IReadOnlyList<Row> rows, int round, CancellationToken cancel)
    {
        var samples = new List<Sample>();
        foreach (Row row in rows)
        {
            if (row.IsProgram && !row.IsForGuests)
            {
                samples.Add(await RunAsync(row, cancel));
            }
        }

        return samples;
    }

    private async Task<Sample> RunAsync(Row row, CancellationToken cancel)
    {
        long count = row.CountAt(scale);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(timeout);
        long begin = Stopwatch.GetTimestamp();
        using Process process = Tool.Start(
            files.Program, [row.Name, count.ToString(CultureInfo.InvariantCulture), files.Busybox, files.Data]);
        process.StandardInput.Close();
        try
        {
            Task<string> errors = process.StandardError.ReadToEndAsync(limit.Token);
            string output = await process.StandardOutput.ReadToEndAsync(limit.Token);
            await process.WaitForExitAsync(limit.Token);
            long host = (long)Stopwatch.GetElapsedTime(begin).TotalNanoseconds;
            return Protocol.Result(Protocol.Words(output), row, count, host)
                ?? Sample.Failed(row, count, $"status {process.ExitCode}: {(await errors).Trim()}");
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return Sample.Failed(row, count, $"no result in {timeout.TotalSeconds:0} s");
        }
        finally
        {
            Tool.Kill(process);
        }
    }
}
