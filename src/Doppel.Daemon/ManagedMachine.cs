using System.Diagnostics;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Snapshots;

namespace Doppel.Daemon;

/// <summary>
/// One kept machine: starts its worker, asks it, and knows when it has ended. All that must outlive the daemon is in the
/// machine's folder; here is only what follows from it. Any thread.
/// </summary>
internal sealed class ManagedMachine : IDisposable
{
    private const string Ready = "ready";
    private static readonly TimeSpan KillTime = TimeSpan.FromSeconds(5), ShortRun = TimeSpan.FromSeconds(10), LongestDelay = TimeSpan.FromMinutes(1);
    private readonly SemaphoreSlim _gate = new(1);
    private readonly StateDirectory _state;
    private readonly EventHub _events;
    private readonly string _workerProgram;
    private readonly Action<ManagedMachine> _removed;
    private Task _ended = Task.CompletedTask;
    private bool _isStopping;
    private bool _isRemoved;
    private int _shortRuns;

    internal ManagedMachine(StateDirectory state, string name, EventHub events, string workerProgram, Action<ManagedMachine> removed)
    {
        _state = state;
        _events = events;
        _workerProgram = workerProgram;
        _removed = removed;
        Folder = new MachineFolder(state, name);
    }

    internal MachineFolder Folder { get; private set; }

    internal string Name => Folder.Name;

    /// <summary>Forgets the machine, which goes on.</summary>
    public void Dispose() => _gate.Dispose();

    /// <summary>Finds a worker again that another daemon has started, or cleans up behind one that was killed meanwhile.</summary>
    internal void Adopt()
    {
        if (Folder.Worker is not null)
            _ended = WatchAsync();
    }

    internal async Task<MachineView> ViewAsync(CancellationToken cancel)
    {
        MachineRecord record = Folder.Record ?? throw Gone();
        WorkerRecord? worker = Folder.LiveWorker;
        MachineSpec spec = record.Spec;
        MachineState state = Folder.IsSuspended ? MachineState.Suspended : Folder.Exit is null ? MachineState.Created : MachineState.Exited;
        if (worker is not null)
        {
            state = MachineState.Running;
            try
            {
                MachineStatistics statistics = (await AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false)).Statistics!;
                state = statistics.State == VmState.Paused ? MachineState.Paused : MachineState.Running;
                spec = spec with { Engine = statistics.Engine };
            }
            catch (ApiException)
            {
                // It is about to end.
            }
        }

        return new MachineView
        {
            Name = Name,
            State = state,
            Spec = spec,
            Restart = record.Restart,
            AutoRemove = record.AutoRemove,
            Created = record.Created,
            Started = worker?.Started,
            ProcessId = worker?.ProcessId,
            Socket = worker?.Socket,
            Exit = worker is null ? Folder.Exit : null,
            Folder = Folder.Path,
        };
    }

    /// <summary>Starts the machine: boots it, or lets it go on if it is suspended, or from a snapshot.</summary>
    internal Task StartAsync(string? snapshot, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _shortRuns = 0;
            await StartWorkerAsync(snapshot, cancel).ConfigureAwait(false);
        },
        cancel);

    /// <summary>Presses the power button, and ends the machine if it takes too long.</summary>
    internal Task StopAsync(TimeSpan time, CancellationToken cancel) => AloneAsync(() => StopWorkerAsync(time, cancel), cancel);

    internal Task KillAsync(CancellationToken cancel) => AloneAsync(() => KillWorkerAsync(cancel), cancel);

    internal Task RestartAsync(TimeSpan time, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            if (Folder.LiveWorker is not null)
                await StopWorkerAsync(time, cancel).ConfigureAwait(false);
            await StartWorkerAsync(null, cancel).ConfigureAwait(false);
        },
        cancel);

    internal Task PauseAsync(CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _ = await AskAsync(new ControlRequest(ControlRequest.Pause), cancel).ConfigureAwait(false);
            _events.Publish(Name, "paused");
        },
        cancel);

    internal Task ResumeAsync(CancellationToken cancel) => AloneAsync(
        async () =>
        {
            if (Folder.LiveWorker is null && Folder.IsSuspended)
            {
                await StartWorkerAsync(null, cancel).ConfigureAwait(false);
                return;
            }

            _ = await AskAsync(new ControlRequest(ControlRequest.Resume), cancel).ConfigureAwait(false);
            _events.Publish(Name, "resumed");
        },
        cancel);

    internal Task SuspendAsync(CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _isStopping = true;
            try
            {
                _ = await AskAsync(new ControlRequest(ControlRequest.Suspend), cancel).ConfigureAwait(false);
            }
            catch
            {
                _isStopping = false;
                throw;
            }

            await _ended.WaitAsync(cancel).ConfigureAwait(false);
            _events.Publish(Name, "suspended");
        },
        cancel);

    internal Task UpdateAsync(UpdateRequest request, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            MachineRecord record = Folder.Record ?? throw Gone();
            MachineSpec spec = request.Engine is string engine ? record.Spec with { Engine = engine } : record.Spec;
            spec.Validate();
            if (Folder.LiveWorker is not null && (request.Engine is not null || request.Balloon is not null))
                _ = await AskAsync(new ControlRequest(ControlRequest.Update) { Engine = request.Engine, Balloon = request.Balloon }, cancel).ConfigureAwait(false);
            else if (request.Balloon is not null)
                throw NotRunning();
            Folder.Record = record with { Spec = spec, Restart = request.Restart ?? record.Restart };
            _events.Publish(Name, "updated");
        },
        cancel);

    internal Task<SnapshotReport> SnapshotAsync(SnapshotRequest request, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            var asked = new ControlRequest(ControlRequest.Snapshot) { Name = request.Name, Description = request.Description, IsFull = request.IsFull };
            SnapshotReport made = (await AskAsync(asked, cancel).ConfigureAwait(false)).Snapshot!;
            _events.Publish(Name, "snapshot", made.Name);
            return made;
        },
        cancel);

    internal IReadOnlyList<SnapshotManifest> ListSnapshots() => _state.SnapshotsOf(Name).List().Snapshots;

    internal Task RestoreAsync(string snapshot, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            string folder = FindSnapshot(snapshot);
            if (Folder.LiveWorker is null)
            {
                await StartWorkerAsync(folder, cancel).ConfigureAwait(false);
                return;
            }

            _ = await AskAsync(new ControlRequest(ControlRequest.Revert) { Name = snapshot }, cancel).ConfigureAwait(false);
            _events.Publish(Name, "restored", snapshot);
        },
        cancel);

    internal Task<IReadOnlyList<string>> RemoveSnapshotAsync(string snapshot, bool isRecursive, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _ = FindSnapshot(snapshot);
            return Folder.LiveWorker is null
                ? _state.SnapshotsOf(Name).Remove(snapshot, isRecursive)
                : (await AskAsync(new ControlRequest(ControlRequest.RemoveSnapshot) { Name = snapshot, IsRecursive = isRecursive }, cancel).ConfigureAwait(false)).Removed!;
        },
        cancel);

    internal async Task<MachineStatistics> GetStatisticsAsync(CancellationToken cancel) =>
        (await AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false)).Statistics!;

    /// <summary>Takes another name. The caller has made sure that it is free.</summary>
    internal Task RenameAsync(string name, Action moved, CancellationToken cancel) => AloneAsync(
        () =>
        {
            if (Folder.LiveWorker is not null)
                throw new ApiException(409, $"{Name}: the machine runs; one that doesn't can be renamed");
            MachineRecord record = Folder.Record ?? throw Gone();
            var next = new MachineFolder(_state, name);
            if (Directory.Exists(next.Path))
                throw new ApiException(409, $"{name}: there already is a machine of that name in {next.Path}");
            string old = Name;
            Directory.Move(Folder.Path, next.Path);
            Folder = next;
            Folder.Record = record with { Spec = record.Spec with { Name = name } };
            moved();
            _events.Publish(name, "renamed", $"it was {old}");
            return Task.CompletedTask;
        },
        cancel);

    internal Task RemoveAsync(bool force, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            if (Folder.LiveWorker is not null)
            {
                if (!force)
                    throw new ApiException(409, $"{Name}: the machine runs; stopping it first, or force, would be right");
                await KillWorkerAsync(cancel).ConfigureAwait(false);
            }

            Remove();
        },
        cancel);

    private static ApiException Failed(string message) => new(409, message);

    private ApiException Gone() => new(404, $"{Name}: no machine of that name is kept");

    private ApiException NotRunning() => new(409, $"{Name}: the machine does not run");

    private string FindSnapshot(string name)
    {
        try
        {
            return _state.SnapshotsOf(Name).Find(name);
        }
        catch (SnapshotException e)
        {
            throw new ApiException(404, $"{Name}: {e.Message}");
        }
    }

    private Task<int> AloneAsync(Func<Task> action, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            await action().ConfigureAwait(false);
            return 0;
        },
        cancel);

    private async Task<T> AloneAsync<T>(Func<Task<T>> action, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            return _isRemoved ? throw Gone() : await action().ConfigureAwait(false);
        }
        finally
        {
            _ = _gate.Release();
        }
    }

    private async Task<ControlReply> AskAsync(ControlRequest request, CancellationToken cancel)
    {
        WorkerRecord worker = Folder.LiveWorker ?? throw NotRunning();
        try
        {
            using ControlClient client = await ControlClient.ConnectAsync(worker.Socket, cancel).ConfigureAwait(false);
            return await client.AskAsync(request, cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw Failed($"{Name}: {e.Message}");
        }
    }

    private async Task StartWorkerAsync(string? snapshot, CancellationToken cancel)
    {
        if (Folder.LiveWorker is not null)
            throw new ApiException(409, $"{Name}: the machine runs already");
        // What is left of the last run is told before the next begins.
        await _ended.WaitAsync(cancel).ConfigureAwait(false);
        var info = new ProcessStartInfo(_workerProgram, ["worker", Name]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = "/" };
        if (snapshot is not null)
        {
            info.ArgumentList.Add("--snapshot");
            info.ArgumentList.Add(snapshot);
        }

        Process worker;
        try
        {
            worker = Process.Start(info)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new ApiException(500, $"{Name}: the worker {_workerProgram} can't be started: {e.Message}");
        }

        using (worker)
        {
            worker.StandardInput.Close();
            Task<string> errors = worker.StandardError.ReadToEndAsync(CancellationToken.None);
            if (await worker.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) != Ready)
            {
                string said = (await errors.ConfigureAwait(false)).Trim();
                const string Prefix = "doppel: ";
                throw Failed($"{Name}: the machine does not start: {(said.StartsWith(Prefix, StringComparison.Ordinal) ? said[Prefix.Length..] : said)}");
            }
        }

        _isStopping = false;
        _events.Publish(Name, "started");
        _ended = WatchAsync();
    }

    private async Task StopWorkerAsync(TimeSpan time, CancellationToken cancel)
    {
        if (Folder.LiveWorker is null)
            throw NotRunning();
        _isStopping = true;
        try
        {
            // A machine that stands still hears no button.
            _ = await AskAsync(new ControlRequest(ControlRequest.Resume), cancel).ConfigureAwait(false);
            _ = await AskAsync(new ControlRequest(ControlRequest.PowerButton), cancel).ConfigureAwait(false);
            await _ended.WaitAsync(time, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or ApiException)
        {
            await KillWorkerAsync(cancel).ConfigureAwait(false);
        }
    }

    private async Task KillWorkerAsync(CancellationToken cancel)
    {
        WorkerRecord worker = Folder.LiveWorker ?? throw NotRunning();
        _isStopping = true;
        try
        {
            using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            time.CancelAfter(KillTime);
            _ = await AskAsync(new ControlRequest(ControlRequest.Stop), time.Token).ConfigureAwait(false);
            await _ended.WaitAsync(time.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is ApiException || (e is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            if (HostProcess.StartOf(worker.ProcessId) == worker.ProcessStart)
            {
                using Process process = Process.GetProcessById(worker.ProcessId);
                process.Kill();
            }

            await _ended.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Completes when the worker is gone, however it ended, and its machine's end has been told.</summary>
    private async Task WatchAsync()
    {
        WorkerRecord? worker = Folder.Worker;
        await Task.Factory.StartNew(() => FileLock.Take(Folder.WorkerLockPath).Dispose(), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        if (Folder.Worker is not null)
        {
            Folder.Exit = new ExitRecord("the machine's process was killed", 137, DateTimeOffset.UtcNow);
            Folder.Worker = null;
        }

        ExitRecord? exit = Folder.Exit;
        _events.Publish(Name, "exited", exit?.Message ?? "");
        _ = FollowAsync(exit, worker is null ? TimeSpan.MaxValue : DateTimeOffset.UtcNow - worker.Started);
    }

    // What the machine's policy says of its end.
    private async Task FollowAsync(ExitRecord? exit, TimeSpan ran)
    {
        MachineRecord? record = Folder.Record;
        if (record is null || exit?.Kind == VmExitKind.Suspended)
            return;
        bool hasFailed = exit?.Kind is null or VmExitKind.GuestCrash or VmExitKind.TripleFault or VmExitKind.InternalError;
        bool restarts = !_isStopping && (record.Restart == RestartPolicy.Always || (record.Restart == RestartPolicy.OnFailure && hasFailed));
        try
        {
            if (restarts)
            {
                // One that can't live is not tried again and again without a rest.
                _shortRuns = ran < ShortRun ? _shortRuns + 1 : 0;
                TimeSpan delay = _shortRuns == 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Min(Math.Pow(2, _shortRuns - 1), LongestDelay.TotalSeconds));
                _events.Publish(Name, "restarting", $"in {delay.TotalSeconds} s");
                await Task.Delay(delay).ConfigureAwait(false);
                await AloneAsync(() => _isStopping || Folder.LiveWorker is not null ? Task.CompletedTask : StartWorkerAsync(null, CancellationToken.None), CancellationToken.None).ConfigureAwait(false);
            }
            else if (record.AutoRemove)
            {
                await AloneAsync(
                    () =>
                    {
                        if (Folder.LiveWorker is null)
                            Remove();
                        return Task.CompletedTask;
                    },
                    CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is ApiException or IOException or UnauthorizedAccessException)
        {
            _events.Publish(Name, "failed", e.Message);
        }
    }

    private void Remove()
    {
        SnapshotStore snapshots = _state.SnapshotsOf(Name);
        while (snapshots.List().Snapshots is [SnapshotManifest first, ..])
            _ = snapshots.Remove(first.Name, withChildren: true);
        SnapshotStore.RemoveFolder(Folder.Path);
        _isRemoved = true;
        _removed(this);
        _events.Publish(Name, "removed");
    }
}
