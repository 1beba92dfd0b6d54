using System.Diagnostics;
using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Host.Files;
using Doppel.Host.Processes;
using Doppel.Vmm;
using Doppel.Vmm.Control;
using Doppel.Vmm.Limits;
using Doppel.Vmm.Readiness;
using Doppel.Vmm.Snapshots;

namespace Doppel.Daemon;

/// <summary>
/// One kept machine: starts its worker, asks it, and knows when it has ended. All that must outlive the daemon is in the
/// machine's folder; here is only what follows from it. Any thread.
/// </summary>
internal sealed partial class ManagedMachine : IDisposable
{
    internal const string Ready = "ready";
    private static readonly TimeSpan KillTime = TimeSpan.FromSeconds(5), ShortRun = TimeSpan.FromSeconds(10), LongestDelay = TimeSpan.FromMinutes(1);
    private readonly SemaphoreSlim _gate = new(1);
    private readonly Lock _adopting = new();
    private readonly StateDirectory _state;
    private readonly MachineRegistry _registry;
    private readonly EventHub _events;
    private readonly WorkerLauncher _launcher;
    private readonly Action<ManagedMachine> _removed;
    private Task _ended = Task.CompletedTask;
    private bool _isRemoved;
    private int _shortRuns;

    internal ManagedMachine(StateDirectory state, string name, MachineRegistry registry, WorkerLauncher launcher, Action<ManagedMachine> removed)
    {
        _state = state;
        _registry = registry;
        _events = registry.Events;
        _launcher = launcher;
        _removed = removed;
        Folder = new MachineFolder(state, name);
    }

    internal MachineFolder Folder { get; private set; }

    internal string Name => Folder.Name;

    /// <summary>Completes when the present run has ended; complete when there is none.</summary>
    internal Task Ended => _ended;

    /// <summary>Forgets the machine, which goes on.</summary>
    public void Dispose() => _gate.Dispose();

    /// <summary>
    /// Finds a worker again that another daemon has started, or does what is due after one that has ended meanwhile: the host
    /// may have been restarted.
    /// </summary>
    internal void Adopt()
    {
        lock (_adopting)
        {
            if (!_ended.IsCompleted)
                return;
            if (Folder.Worker is not null || Folder.IsHeld)
                _ended = WatchAsync();
            else if (Folder.Exit is ExitRecord exit)
                _ = FollowAsync(exit, TimeSpan.MaxValue);
        }
    }

    internal async Task<MachineView> ViewAsync(CancellationToken cancel)
    {
        MachineRecord record = Folder.Record ?? throw Gone();
        WorkerRecord? worker = Folder.LiveWorker;
        MachineSpec spec = record.Spec;
        GuestReadiness? readiness = null;
        MachineState state = Folder.IsSuspended ? MachineState.Suspended : Folder.Exit switch
        {
            null => MachineState.Created,
            { Kind: VmExitKind.Migrated } => MachineState.Migrated,
            _ => MachineState.Exited,
        };
        if (worker is not null)
        {
            state = MachineState.Running;
            try
            {
                MachineStatistics statistics = (await AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false)).Statistics!;
                state = statistics.State == VmState.Paused ? MachineState.Paused : MachineState.Running;
                spec = spec with { Engine = statistics.Engine };
                readiness = statistics.Readiness;
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
            Readiness = readiness,
            ProcessId = worker?.ProcessId,
            Socket = worker?.Socket,
            Exit = worker is null ? Folder.Exit : null,
            Folder = Folder.Path,
        };
    }

    /// <summary>Starts the machine: boots it, or lets it go on if it is suspended, or from a snapshot.</summary>
    internal Task StartAsync(CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _shortRuns = 0;
            await StartWorkerAsync(null, cancel).ConfigureAwait(false);
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

    /// <summary>Saves the machine and ends its process; it can be cancelled until it stands still.</summary>
    internal Task SuspendAsync(string? description, OperationTask operation) => AloneAsync(
        async () =>
        {
            bool wasStopping = Folder.IsStopAsked;
            Folder.IsStopAsked = true;
            try
            {
                _ = await FollowAsync(new ControlRequest(ControlRequest.Suspend) { Description = description }, operation).ConfigureAwait(false);
            }
            catch
            {
                Folder.IsStopAsked = wasStopping;
                throw;
            }

            await _ended.ConfigureAwait(false);
            _events.Publish(Name, "suspended");
        },
        operation.Cancel);

    internal Task UpdateAsync(UpdateRequest request, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            MachineRecord record = Folder.Record ?? throw Gone();
            double? cap = request.CpuCap is 0 ? null : request.CpuCap ?? record.Spec.CpuCap;
            MachineSpec spec = record.Spec with { Engine = request.Engine ?? record.Spec.Engine, CpuWeight = request.CpuWeight ?? record.Spec.CpuWeight, CpuCap = cap };
            spec = spec.WithLimits(request.DiskLimits ?? [], request.NetworkLimits ?? []);
            spec.Validate();
            var asked = new ControlRequest(ControlRequest.Update) { Engine = request.Engine, Balloon = request.Balloon, CpuCap = request.CpuCap, DiskLimits = request.DiskLimits, NetworkLimits = request.NetworkLimits };
            if (Folder.LiveWorker is not null && asked != new ControlRequest(ControlRequest.Update))
                _ = await AskAsync(asked, cancel).ConfigureAwait(false);
            else if (request.Balloon is not null)
                throw NotRunning();
            Folder.Record = record with { Spec = spec, Restart = request.Restart ?? record.Restart };
            _events.Publish(Name, "updated");
            _registry.Reconsider();
        },
        cancel);

    /// <summary>Makes a snapshot of the running machine.</summary>
    internal Task<SnapshotReport> SnapshotAsync(SnapshotRequest request, OperationTask operation) => AloneAsync(
        async () =>
        {
            var asked = new ControlRequest(ControlRequest.Snapshot) { Name = request.Name, Description = request.Description, IsFull = request.IsFull };
            SnapshotReport made = (await FollowAsync(asked, operation).ConfigureAwait(false)).Snapshot!;
            _events.Publish(Name, "snapshot", made.Name);
            return made;
        },
        operation.Cancel);

    /// <summary>Makes another machine, suspended, of a snapshot or of the machine as it is. The caller registers it.</summary>
    internal Task CloneAsync(CloneRequest request, OperationTask operation) => AloneAsync(
        async () =>
        {
            if (Directory.Exists(_state.FolderOf(request.Name)))
                throw new ApiException(409, $"{request.Name}: there already is a machine of that name; another name, or removing it first, would be right");
            if (request.Snapshot is string snapshot)
            {
                await CloneAsync(FindSnapshot(snapshot), request.Name, operation).ConfigureAwait(false);
                return;
            }

            if (Folder.LiveWorker is null && Folder.IsSuspended)
                throw new ApiException(409, $"{Name}: a suspended machine's disks belong to it; a snapshot, or the machine when it runs, would be right");
            // Nobody else asks for a name that is no name of a snapshot of theirs.
            string temporary = $"clone-{Guid.NewGuid():N}";
            SnapshotReport made = (await FollowAsync(new ControlRequest(ControlRequest.Snapshot) { Name = temporary, IsPassing = true }, operation).ConfigureAwait(false)).Snapshot!;
            try
            {
                await CloneAsync(made.Folder, request.Name, operation).ConfigureAwait(false);
            }
            finally
            {
                // What the clone needs of it has further names by now.
                _ = Folder.LiveWorker is null
                    ? _state.SnapshotsOf(Name).Remove(temporary, withChildren: false)
                    : (await AskAsync(new ControlRequest(ControlRequest.RemoveSnapshot) { Name = temporary }, CancellationToken.None).ConfigureAwait(false)).Removed;
            }
        },
        operation.Cancel);

    internal IReadOnlyList<SnapshotManifest> ListSnapshots() => _state.SnapshotsOf(Name).List().Snapshots;

    /// <summary>Goes back to a snapshot: in the worker that runs, or in a new one.</summary>
    internal Task RestoreAsync(string snapshot, OperationTask operation) => AloneAsync(
        async () =>
        {
            string folder = FindSnapshot(snapshot);
            RefuseForeign(SnapshotReader.ReadManifest(folder));
            if (Folder.LiveWorker is null)
            {
                await StartWorkerAsync(folder, operation.Cancel).ConfigureAwait(false);
                return;
            }

            _ = await FollowAsync(new ControlRequest(ControlRequest.Revert) { Name = snapshot }, operation).ConfigureAwait(false);
            _events.Publish(Name, "restored", snapshot);
        },
        operation.Cancel);

    internal Task<IReadOnlyList<string>> RemoveSnapshotAsync(string snapshot, bool isRecursive, CancellationToken cancel) => AloneAsync(
        async () =>
        {
            _ = FindSnapshot(snapshot);
            return Folder.LiveWorker is null
                ? _state.SnapshotsOf(Name).Remove(snapshot, isRecursive)
                : (await AskAsync(new ControlRequest(ControlRequest.RemoveSnapshot) { Name = snapshot, IsRecursive = isRecursive }, cancel).ConfigureAwait(false)).Removed!;
        },
        cancel);

    /// <summary>Compares all of a snapshot with its checksums.</summary>
    /// <exception cref="ApiException">There is none of that name.</exception>
    /// <exception cref="SnapshotException">It is damaged.</exception>
    internal Task CheckSnapshotAsync(string snapshot, OperationTask operation) => Task.Run(() =>
    {
        using SnapshotReader reader = SnapshotReader.Open(FindSnapshot(snapshot));
        reader.VerifyMemory(operation.Report, operation.Cancel);
    });

    /// <summary>A snapshot's manifest.</summary>
    internal SnapshotManifest GetSnapshot(string snapshot) => SnapshotReader.ReadManifest(FindSnapshot(snapshot));

    /// <summary>What the guest says of its memory.</summary>
    internal async Task<BalloonReport> GetBalloonAsync(CancellationToken cancel) =>
        (await AskAsync(new ControlRequest(ControlRequest.BalloonReport), cancel).ConfigureAwait(false)).BalloonReport!;

    /// <summary>A connection to the worker.</summary>
    internal async Task<ControlClient> ConnectAsync(CancellationToken cancel)
    {
        try
        {
            return await ControlClient.ConnectAsync((Folder.LiveWorker ?? throw NotRunning()).Socket, cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw Failed($"{Name}: {e.Message}");
        }
    }

    /// <summary>Makes of such a connection the console.</summary>
    internal async Task<Stream> AttachAsync(ControlClient client, CancellationToken cancel)
    {
        try
        {
            return await client.AttachConsoleAsync(cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw Failed($"{Name}: {e.Message}");
        }
    }

    internal async Task<MachineStatistics> GetStatisticsAsync(CancellationToken cancel) =>
        (await AskAsync(new ControlRequest(ControlRequest.Statistics), cancel).ConfigureAwait(false)).Statistics!;

    /// <summary>What the screen shows.</summary>
    internal async Task<ScreenReport> TakePictureAsync(CancellationToken cancel) =>
        (await AskAsync(new ControlRequest(ControlRequest.Screenshot), cancel).ConfigureAwait(false)).Screen!;

    /// <summary>Types and points.</summary>
    internal Task SendInputAsync(InputRequest input, CancellationToken cancel) =>
        AskAsync(new ControlRequest(ControlRequest.SendInput) { Input = input }, cancel);

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

    private async Task<ControlReply> FollowAsync(ControlRequest request, OperationTask operation)
    {
        WorkerRecord worker = Folder.LiveWorker ?? throw NotRunning();
        try
        {
            using ControlClient client = await ControlClient.ConnectAsync(worker.Socket, operation.Cancel).ConfigureAwait(false);
            return await client.FollowAsync(request, operation.Report, operation.Cancel).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            throw Failed($"{Name}: {e.Message}");
        }
    }

    // Snapshots are written by the worker: one that a guest has taken over could write other files' names into them, which the
    // daemon would copy for it, or give to the next worker.
    private void RefuseForeign(SnapshotManifest manifest)
    {
        MachineSpec own = (Folder.Record ?? throw Gone()).Spec.WithFullPaths("/"), then = manifest.Machine.WithFullPaths("/");
        bool isOwn = own.Kernel == then.Kernel && own.Initrd == then.Initrd && own.Firmware == then.Firmware && own.FirmwareFile == then.FirmwareFile
            && own.Disks.Select(MachineLimits.WithoutLimits).SequenceEqual(then.Disks.Select(MachineLimits.WithoutLimits)) && own.Volumes.SequenceEqual(then.Volumes)
            && own.Vsock == then.Vsock && manifest.Disks.Zip(own.Disks).All(pair => pair.First.Path == (pair.Second.Overlay ?? pair.Second.Path));
        if (!isOwn)
            throw new ApiException(409, $"{Name}: the snapshot {manifest.Name} names a kernel, disks or folders that are not this machine's");
    }

    // The clone of a machine in the background is one, too.
    private async Task CloneAsync(string folder, string name, OperationTask operation)
    {
        operation.Cancel.ThrowIfCancellationRequested();
        operation.Report(new OperationProgress("disks"));
        MachineRecord record = Folder.Record ?? throw Gone();
        RefuseForeign(SnapshotReader.ReadManifest(folder));
        // It reads no image that this machine writes to, but a copy; what else is behind this one's disks was known before it ran.
        IEnumerable<string> written = record.Spec.Disks.Where(disk => disk is { IsReadOnly: false, IsEphemeral: false }).Select(disk => disk.Overlay ?? disk.Path);
        record = record with { Behind = record.Behind is null ? null : [.. record.Behind.Except(written)], Created = DateTimeOffset.UtcNow };
        await Task.Run(() => new SnapshotCloner(_state).Clone(folder, name, (spec, clone) => _ = new MachineFolder(clone) { Record = record with { Spec = spec } })).ConfigureAwait(false);
        _events.Publish(name, "created", $"a clone of {Name}");
    }

    private async Task StartWorkerAsync(string? snapshot, CancellationToken cancel)
    {
        if (Folder.LiveWorker is not null)
            throw new ApiException(409, $"{Name}: the machine runs already");
        RefuseIfAway();
        // What is left of the last run is told before the next begins.
        await _ended.WaitAsync(cancel).ConfigureAwait(false);
        MachineRecord record = Folder.Record ?? throw Gone();
        foreach (DiskSpec disk in record.Spec.Disks)
        {
            // The worker may make no file where the user's are.
            if (disk.Overlay is string overlay && !File.Exists(overlay))
                Overlays.Open(overlay, disk.Path, disk.Format).Dispose();
        }

        if (record.Behind is null)
            Folder.Record = record = record with { Behind = WorkerLauncher.FindBehind(record.Spec) };
        using IDisposable admitted = _registry.Admit(record.Spec);
        _launcher.Spares.RefillLater();
        Process worker;
        try
        {
            worker = _launcher.Start(Folder, record, snapshot);
        }
        catch (IOException e)
        {
            throw new ApiException(500, $"{Name}: {e.Message}");
        }

        using (worker)
        {
            worker.StandardInput.Close();
            Task<string> errors = worker.StandardError.ReadToEndAsync(CancellationToken.None);
            await using CancellationTokenRegistration givenUp = cancel.Register(worker.Kill);
            if (await worker.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) != Ready)
            {
                string said = (await errors.ConfigureAwait(false)).Trim();
                cancel.ThrowIfCancellationRequested();
                const string Prefix = "doppel: ";
                throw Failed($"{Name}: the machine does not start: {(said.StartsWith(Prefix, StringComparison.Ordinal) ? said[Prefix.Length..] : said)}");
            }
        }

        Folder.IsStopAsked = false;
        _events.Publish(Name, "started");
        _ended = WatchAsync(isNew: true);
        _registry.Reconsider();
        _launcher.Spares.RefillLater();
    }

    private async Task StopWorkerAsync(TimeSpan time, CancellationToken cancel)
    {
        if (Folder.LiveWorker is null)
            throw NotRunning();
        Folder.IsStopAsked = true;
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
        catch (OperationCanceledException)
        {
            // If the guest shuts down all the same, its policy applies.
            Folder.IsStopAsked = false;
            throw;
        }
    }

    private async Task KillWorkerAsync(CancellationToken cancel)
    {
        WorkerRecord worker = Folder.LiveWorker ?? throw NotRunning();
        Folder.IsStopAsked = true;
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
    private async Task WatchAsync(bool isNew = false)
    {
        WorkerRecord? worker = Folder.Worker;
        _ = TellReadinessAsync();
        _ = TellTonesAsync(isNew);
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
        await SettleAsync().ConfigureAwait(false);
        exit = Folder.Exit;
        if (exit?.Kind == VmExitKind.Migrated && HoldsDisks(record))
            return;
        bool hasFailed = exit?.Kind is null or VmExitKind.GuestCrash or VmExitKind.TripleFault or VmExitKind.InternalError;
        bool restarts = !Folder.IsStopAsked && exit?.Kind != VmExitKind.Migrated && (record.Restart == RestartPolicy.Always || (record.Restart == RestartPolicy.OnFailure && hasFailed));
        try
        {
            if (restarts)
            {
                // One that can't live is not tried again and again without a rest.
                _shortRuns = ran < ShortRun ? _shortRuns + 1 : 0;
                TimeSpan delay = _shortRuns == 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Min(Math.Pow(2, _shortRuns - 1), LongestDelay.TotalSeconds));
                _events.Publish(Name, "restarting", $"in {delay.TotalSeconds} s");
                await Task.Delay(delay).ConfigureAwait(false);
                await AloneAsync(() => Folder.IsStopAsked || Folder.LiveWorker is not null ? Task.CompletedTask : StartWorkerAsync(null, CancellationToken.None), CancellationToken.None).ConfigureAwait(false);
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
        if (Folder.Exit?.Kind == VmExitKind.Migrated && Folder.Record is MachineRecord record && HoldsDisks(record))
            throw new ApiException(409, $"{Name}: {Folder.Exit.Message}, and its disks are in {Folder.Path}; moving it with its disks (--copy-disks) first would be right");
        RefuseIfBehindOthers();
        if (Folder.Record?.Migration is Guid id)
            _registry.Ledger.KeepArrival(id, Name);
        if (Folder.Handover is HandoverRecord handover)
            _registry.Ledger.ForgetToken(handover.Address.Id);
        SnapshotStore snapshots = _state.SnapshotsOf(Name);
        while (snapshots.List().Snapshots is [SnapshotManifest first, ..])
            _ = snapshots.Remove(first.Name, withChildren: true);
        SnapshotStore.RemoveFolder(Folder.Path);
        _isRemoved = true;
        _removed(this);
        _events.Publish(Name, "removed");
    }
}
