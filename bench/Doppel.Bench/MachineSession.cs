using System.Diagnostics;

namespace Doppel.Bench;

/// <summary>One machine from its boot to its end. Used by one task at a time; disposing it kills the machine.</summary>
internal sealed class MachineSession(TextWriter log, Limits limits) : IDisposable
{
    private const string LoginPrompt = " login: ";
    private Process? _process;
    private Task _errors = Task.CompletedTask;
    private string _lastLine = "";

    /// <summary>Instructions that the guest executed in all, once the machine has ended; null if the VMM does not count them.</summary>
    public ulong? Instructions { get; private set; }

    /// <summary>Whether the machine can go on with the next row.</summary>
    public bool Alive { get; private set; }

    /// <summary>Starts the VMM and waits for the guest's first process. The sample is that of <see cref="Row.Boot"/>.</summary>
    public async Task<Sample> BootAsync(string file, IEnumerable<string> arguments, CancellationToken cancel)
    {
        long begin = Stopwatch.GetTimestamp();
        _process = Tool.Start(file, arguments);
        _errors = CopyErrorsAsync(_process.StandardError);
        string? failure = await WaitAsync(words => words[0] == "ready", limits.Boot, cancel);
        long time = (long)Stopwatch.GetElapsedTime(begin).TotalNanoseconds;
        Alive = failure is null;
        return failure is null
            ? new Sample(Row.BootName, 1, time, time, "-", null)
            : Sample.Failed(Row.Boot, 1, failure);
    }

    /// <summary>Starts the VMM and waits for a login prompt, at which the machine is killed. The sample is that of <see cref="Row.System"/>.</summary>
    public async Task<Sample> BootSystemAsync(string file, IEnumerable<string> arguments, CancellationToken cancel)
    {
        long begin = Stopwatch.GetTimestamp();
        _process = Tool.Start(file, arguments);
        _errors = CopyErrorsAsync(_process.StandardError);
        string? failure = await WaitForLoginAsync(cancel);
        long time = (long)Stopwatch.GetElapsedTime(begin).TotalNanoseconds;
        await EndAsync(cancel);
        return failure is null ? new Sample(Row.System.Name, 1, time, time, "-", null) : Sample.Failed(Row.System, 1, failure);
    }

    /// <summary>Waits for the start and the result of one row.</summary>
    public async Task<Sample> RowAsync(Row row, long count, CancellationToken cancel)
    {
        string? failure = await WaitAsync(words => words[0] == "start" && words[1] == row.Name, limits.Row, cancel);
        Sample? sample = null;
        bool programFailed = false;
        if (failure is null)
        {
            long begin = Stopwatch.GetTimestamp();
            failure = await WaitAsync(
                words =>
                {
                    sample = Protocol.Result(words, row, count, (long)Stopwatch.GetElapsedTime(begin).TotalNanoseconds);
                    programFailed = words[0] == "failed";
                    return sample is not null || programFailed;
                },
                limits.Row,
                cancel);
        }

        if (failure is not null)
        {
            Alive = false;
            return Sample.Failed(row, count, failure);
        }

        return sample ?? Sample.Failed(row, count, programFailed ? $"the program failed: {_lastLine.Trim()}" : "no result");
    }

    /// <summary>Lets a live machine power itself off, or kills it.</summary>
    public async Task EndAsync(CancellationToken cancel)
    {
        if (_process is null)
        {
            return;
        }

        if (Alive && await WaitAsync(words => words[0] == "done", limits.Boot, cancel) is null)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(limits.Boot);
            try
            {
                await _process.StandardOutput.ReadToEndAsync(limit.Token);
                await _process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                log.WriteLine("(bench: the machine did not power off)");
            }
        }

        Tool.Kill(_process);
        await _process.WaitForExitAsync(cancel);
        await _errors;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_process is not null)
        {
            Tool.Kill(_process);
            _process.Dispose();
        }
    }

    /// <summary>Reads lines until one of the protocol is the awaited one. Returns null, or what went wrong.</summary>
    private async Task<string?> WaitAsync(Func<string[], bool> awaited, TimeSpan patience, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(patience);
        try
        {
            while (await _process!.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                lock (log)
                {
                    log.WriteLine(line);
                }

                string[] words = Protocol.Words(line);
                if (words.Length > 0 && awaited(words))
                {
                    return null;
                }

                if (words is ["ready"])
                {
                    return "the guest started again";
                }

                if (!string.IsNullOrWhiteSpace(line))
                {
                    _lastLine = line;
                }
            }

            await _process.WaitForExitAsync(limit.Token);
            return $"the machine ended with status {_process.ExitCode}; its last line: {_lastLine.Trim()}";
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return $"no answer in {patience.TotalSeconds:0} s; the last line: {_lastLine.Trim()}";
        }
    }

    /// <summary>Reads until the prompt, which no line end follows. Returns null, or what went wrong.</summary>
    private async Task<string?> WaitForLoginAsync(CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(limits.Boot);
        char[] buffer = new char[4096];
        string unfinished = "";
        try
        {
            while (await _process!.StandardOutput.ReadAsync(buffer, limit.Token) is int count and > 0)
            {
                lock (log)
                {
                    log.Write(buffer, 0, count);
                }

                unfinished += new string(buffer, 0, count);
                if (unfinished.Contains(LoginPrompt, StringComparison.Ordinal))
                {
                    return null;
                }

                string[] lines = unfinished.Split('\n');
                unfinished = lines[^1];
                _lastLine = lines[..^1].LastOrDefault(line => !string.IsNullOrWhiteSpace(line)) ?? _lastLine;
            }

            await _process.WaitForExitAsync(limit.Token);
            return $"the machine ended with status {_process.ExitCode}; its last line: {_lastLine.Trim()}";
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return $"no login prompt in {limits.Boot.TotalSeconds:0} s; the last line: {_lastLine.Trim()}";
        }
    }

    private async Task CopyErrorsAsync(StreamReader errors)
    {
        while (await errors.ReadLineAsync() is { } line)
        {
            Instructions = Protocol.Instructions(line) ?? Instructions;
            lock (log)
            {
                log.WriteLine("(stderr) " + line);
            }
        }
    }
}
