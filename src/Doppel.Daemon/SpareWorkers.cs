using System.Diagnostics;
using System.Text.Json;
using Doppel.Api;
using Doppel.Host;
using Doppel.Host.Confinement;

namespace Doppel.Daemon;

/// <summary>
/// Workers that were started before a machine needs them: the runtime has come up in them and has compiled what a start takes. Each
/// confines itself to its machine before it reads anything of it. Any thread.
/// </summary>
internal sealed class SpareWorkers : IDisposable
{
    private const string Ready = "spare";
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(0.5);
    private readonly string _program;
    private readonly int _count;
    private readonly Timer _rest;
    private readonly Lock _lock = new();
    private readonly Queue<Process> _waiting = new();
    private readonly HashSet<Process> _starting = [];
    private bool _isOver;

    /// <summary>Begins with none.</summary>
    /// <param name="program">The program: "PROGRAM worker --spare".</param>
    /// <param name="count">How many there are to be.</param>
    internal SpareWorkers(string program, int count)
    {
        _program = program;
        _count = count;
        _rest = new Timer(_ => Refill());
    }

    /// <summary>How many wait.</summary>
    internal int Waiting
    {
        get
        {
            lock (_lock)
                return _waiting.Count;
        }
    }

    /// <summary>Starts as many as are missing when no machine has started for half a second: one that is made ready takes as much of the processors as one that starts.</summary>
    internal void RefillLater()
    {
        lock (_lock)
        {
            if (!_isOver)
                _ = _rest.Change(Rest, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Starts as many as there are to be. What goes wrong is told when a machine starts without one.</summary>
    internal void Refill()
    {
        lock (_lock)
        {
            // One after the other.
            if (_isOver || !Landlock.CanConfineProcess || _starting.Count != 0 || _waiting.Count >= _count)
                return;
            Process? started = null;
            // A child has no more than the thread that starts it; the daemon's other threads are as they were.
            var thread = new Thread(() => started = TryStart());
            thread.Start();
            thread.Join();
            if (started is not null)
                _ = AwaitAsync(started);
        }
    }

    /// <summary>Takes one and tells it its machine.</summary>
    /// <param name="order">The machine.</param>
    /// <returns>The process, of which the caller reads on; null when none waits.</returns>
    internal Process? TryTake(WorkerOrder order)
    {
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(order, ApiJson.Compact.WorkerOrder), (byte)'\n'];
        while (true)
        {
            Process? process;
            lock (_lock)
            {
                if (!_waiting.TryDequeue(out process))
                    return null;
            }

            try
            {
                process.StandardInput.BaseStream.Write(line);
                process.StandardInput.BaseStream.Flush();
                return process;
            }
            catch (IOException)
            {
                // It was killed while it waited.
                process.Dispose();
            }
        }
    }

    /// <summary>Lets those go that wait.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isOver = true;
            _rest.Dispose();
            foreach (Process process in _waiting.Concat(_starting))
                process.StandardInput.Close();
            _waiting.Clear();
        }
    }

    private Process? TryStart()
    {
        var info = new ProcessStartInfo(_program, ["worker", "--spare"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        info.Environment["DOTNET_EnableDiagnostics"] = "0";
        WorkerLauncher.StartSooner(info);
        try
        {
            Landlock.RefuseNewPrivileges();
            return Process.Start(info);
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or HostException)
        {
            return null;
        }
    }

    // The lock is held when it begins.
    private async Task AwaitAsync(Process process)
    {
        _ = _starting.Add(process);
        bool isReady = await process.StandardOutput.ReadLineAsync().ConfigureAwait(false) == Ready;
        lock (_lock)
        {
            _ = _starting.Remove(process);
            if (isReady && !_isOver)
                _waiting.Enqueue(process);
            else
                process.Dispose();
        }

        if (isReady)
            RefillLater();
    }
}
