using System.Diagnostics;
using Doppel.Engines.Kvm;
using Doppel.Host.Processes;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Control;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Limits;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm;

/// <content>Save, restore, and change of the engine.</content>
public sealed partial class VirtualMachine
{
    // Fewer dirty pages than this are written while the machine stands still: 1 MiB takes less than a millisecond.
    private const ulong FewPages = 256;
    private const int MostRounds = 8;
    private readonly SemaphoreSlim _saving = new(1);
    private bool _isHeldForSaving;
    private (SnapshotReader Snapshot, TaskCompletionSource Done)? _revert;
    private TaskCompletionSource? _engineChanged;
    private (string Engine, EngineFactory Factory)? _prepared;
    private long _switchBegan;
    private TimeSpan? _lastSwitch;
    private string? _suspendedTo;
    private string? _restoredFrom;

    /// <summary>Makes a machine that goes on where a snapshot was made; nothing runs yet. Its memory is read when it is touched.</summary>
    /// <param name="snapshot">The snapshot. It may be disposed after this, and its folder removed.</param>
    /// <param name="change">Makes another specification of the snapshot's: another name or engine, the same disks elsewhere. Null for none.</param>
    /// <param name="connections">What it is connected to; as many console ports as the snapshot's machine had.</param>
    /// <exception cref="SnapshotException">The snapshot doesn't fit, or is damaged; the section is named.</exception>
    /// <exception cref="SpecException">The specification can't be, on this host.</exception>
    /// <exception cref="Doppel.Devices.Storage.Images.DiskImageException">A disk's image can't be opened.</exception>
    /// <exception cref="Doppel.Devices.Network.NetworkException">A network can't be had.</exception>
    /// <exception cref="Doppel.Host.HostException">The host refuses memory or a timer.</exception>
    public static VirtualMachine Restore(SnapshotReader snapshot, Func<MachineSpec, MachineSpec>? change = null, MachineConnections? connections = null)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        MachineSpec spec = change?.Invoke(snapshot.Manifest.Machine) ?? snapshot.Manifest.Machine;
        spec.Validate();
        (spec, string? reason) = EngineChoice.Make(spec, isNew: false);
        IReadOnlyList<MachineDisk> disks = DiskStates.Open(spec, snapshot);
        IReadOnlyList<MachineNetwork> networks = [];
        var boot = new BootFiles(spec);
        VirtualMachine? machine = null;
        try
        {
            networks = MachineNetwork.OpenAll(spec);
            machine = new VirtualMachine(spec, connections ?? new MachineConnections(), boot, disks, networks) { EngineReason = reason };
            machine.ServeVnc();
            machine.OpenPrinter();
            machine._machine = machine.Build(snapshot);
            machine._restoredFrom = snapshot.Folder;
            machine.TakeReadiness(snapshot.Manifest.Readiness);
            return machine;
        }
        catch
        {
            machine?.Abandon();
            MachineNetwork.CloseAll(networks);
            MachineDisk.CloseAll(disks);
            boot.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Saves the machine with its disks. It runs on meanwhile but for a moment at the end, in which the rest of its memory and
    /// everything else are saved; one that was paused stays so.
    /// </summary>
    /// <param name="store">Where the snapshot goes.</param>
    /// <param name="options">How.</param>
    /// <param name="cancel">Ends it before that moment; nothing is left then.</param>
    /// <exception cref="SnapshotException">The machine doesn't run, a disk can't keep a state, or the name is taken.</exception>
    /// <exception cref="IOException">The host refuses; the machine goes on.</exception>
    public async Task<SaveResult> SaveAsync(SnapshotStore store, SaveOptions options, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(options);
        string name = options.Name ?? store.NextName();
        if (!SnapshotFolder.IsName(name))
            throw new SnapshotException($"\"{name}\" can't be a snapshot's name: 1 to {SnapshotFolder.MaximumName} letters, digits, dots, dashes and underscores, not beginning with a dot, would be right");
        await _saving.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            while (true)
            {
                // A guest that has rebooted meanwhile is another one.
                if (await Task.Run(() => TrySaveHeldAsync(store, name, options, cancel), cancel).ConfigureAwait(false) is SaveResult result)
                    return result;
            }
        }
        finally
        {
            _ = _saving.Release();
        }
    }

    /// <summary>Makes the running machine what it was when a snapshot of it was made; what it is now is lost. It runs, or stays paused.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <exception cref="SnapshotException">The machine doesn't run, or the snapshot is another machine's. One that turns out not to fit only when it is restored ends the machine.</exception>
    public async Task RevertAsync(SnapshotReader snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        await _saving.WaitAsync().ConfigureAwait(false);
        try
        {
            MachineSpec then = snapshot.Manifest.Machine;
            if (then.Memory != Spec.Memory || then.Cpus != Spec.Cpus || then.CpuModel != Spec.CpuModel || !WithoutMedia(then).SequenceEqual(WithoutMedia(Spec.WithFullPaths())))
                throw new SnapshotException($"{snapshot.Folder}: it is the snapshot of a machine with other memory, vCPUs or disks; restoring it by itself would be right", "manifest");
            var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (_lock)
            {
                _ = RunningMachine();
                _revert = (snapshot, done);
                _machine!.End(new EndRequest(VmExitKind.Reset, "the machine goes back to a snapshot"));
            }

            await done.Task.ConfigureAwait(false);
        }
        finally
        {
            _ = _saving.Release();
        }
    }

    /// <summary>Removes a snapshot of this machine while it runs, with what its open disks keep of it.</summary>
    /// <param name="store">Where the snapshot is.</param>
    /// <param name="name">Its name.</param>
    /// <param name="withChildren">True to remove those that differ from it, too.</param>
    /// <returns>The names of what was removed.</returns>
    /// <exception cref="SnapshotException">There is none of that name, or others need it.</exception>
    public async Task<IReadOnlyList<string>> RemoveSnapshotAsync(SnapshotStore store, string name, bool withChildren)
    {
        ArgumentNullException.ThrowIfNull(store);
        await _saving.WaitAsync().ConfigureAwait(false);
        try
        {
            return await Task.Run(() => store.Remove(name, withChildren, DiskStates.Remover(_disks))).ConfigureAwait(false);
        }
        finally
        {
            _ = _saving.Release();
        }
    }

    /// <summary>Lets the machine go on under another engine. Completes when it does.</summary>
    /// <param name="engine">One of <see cref="EngineNames.Choices"/>.</param>
    /// <exception cref="SpecException">There is no such engine, or it can't run the machine on this host; it goes on as before.</exception>
    public Task ChangeEngineAsync(string engine)
    {
        MachineSpec wanted = Spec with { Engine = engine };
        wanted.Validate();
        engine = EngineChoice.Make(wanted, isNew: false).Spec.Engine;
        lock (_lock)
        {
            if (_state == VmState.Ended)
                return Task.CompletedTask;
            if (_machine is { EndReason: null } running && _state != VmState.Created && engine != _lastEngine)
                Prepare(engine, running);
            _engine = engine;
            if (_state == VmState.Created)
                return Task.CompletedTask;
            _engineChanged ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_machine is PcMachine machine)
            {
                machine.ChangesEngine = true;
                _switchBegan = Stopwatch.GetTimestamp();
                machine.Kick();
            }

            _gate.Wake();
            return _engineChanged.Task;
        }
    }

    // The guest goes on meanwhile: it stands still only while its vCPUs change over. The lock is held.
    private void Prepare(string engine, PcMachine machine)
    {
        DropPrepared();
        var factory = new EngineFactory(Spec.CodeCache);
        try
        {
            factory.Prepare(engine, machine.Cpus[0]);
        }
        catch (KvmException e)
        {
            factory.Dispose();
            throw new SpecException("engine", $"--engine {engine}: {e.Message}");
        }

        _prepared = (engine, factory);
    }

    // The lock is held, and the machine is still there.
    private void DropPrepared()
    {
        _prepared?.Factory.Dispose();
        _prepared = null;
    }

    /// <summary>What was prepared for an engine, or an empty factory.</summary>
    private EngineFactory TakeFactory()
    {
        lock (_lock)
        {
            if (_prepared is (string engine, EngineFactory factory) && engine == _engine)
            {
                _prepared = null;
                return factory;
            }

            DropPrepared();
            return new EngineFactory(Spec.CodeCache);
        }
    }

    // A guest that resets the machine meanwhile does not take its memory from under who reads it.
    private async Task<SaveResult?> TrySaveHeldAsync(SnapshotStore store, string name, SaveOptions options, CancellationToken cancel)
    {
        PcMachine machine;
        lock (_lock)
            machine = RunningMachine();
        if (!machine.Memory.TryHold())
            return null;
        try
        {
            return await TrySaveAsync(machine, store, name, options, cancel).ConfigureAwait(false);
        }
        finally
        {
            machine.Memory.Release();
        }
    }

    private async Task<SaveResult?> TrySaveAsync(PcMachine machine, SnapshotStore store, string name, SaveOptions options, CancellationToken cancel)
    {
        foreach (MachineDisk disk in _disks)
            _ = DiskStates.KindOf(disk, options.Ends);
        DirtyPageLog log = machine.DirtyPages;
        SnapshotWriter.RemoveLeftovers(store.Path);
        SnapshotManifest? parent = options.IsFull || options.Ends || log.BaseId is null ? null : store.List().Snapshots.FirstOrDefault(manifest => manifest.Id == log.BaseId);
        var writer = new SnapshotWriter(store.Path, name, machine.Memory, options.Step);
        try
        {
            PageSet Begin()
            {
                _ = log.Take();
                return (parent is null ? log.Written : log.SinceBase).Clone();
            }

            long longest = 0;
            PageSet? pages = await WithStoppedCpusAsync(machine, Begin, t => longest = Math.Max(longest, t)).ConfigureAwait(false);
            for (int round = 1; pages is not null; round++)
            {
                ulong total = pages.Count;
                string phase = round == 1 ? "memory" : "memory that has changed";
                writer.WritePages(pages, cancel, options.Progress is null ? null : done => options.Progress(new OperationProgress(phase) { Done = done, Total = total, Unit = "pages" }));
                PageSet? next = await WithStoppedCpusAsync(machine, log.Take, t => longest = Math.Max(longest, t)).ConfigureAwait(false);
                bool isEnough = next is null || next.Count <= FewPages || round == MostRounds || (round > 2 && next.Count > pages.Count / 4 * 3);
                pages = next;
                if (isEnough)
                    break;
            }

            // What disks write later takes none of the time in which the machine stands still.
            options.Progress?.Invoke(new OperationProgress("disks"));
            foreach (MachineDisk disk in _disks.Where(disk => !disk.Backend.IsReadOnly))
                await disk.Backend.FlushAsync(cancel).ConfigureAwait(false);
            if (pages is null || await SaveRestAsync(machine, writer, pages, parent, options).ConfigureAwait(false) is not (SnapshotManifest manifest, TimeSpan stopped))
            {
                writer.Dispose();
                return null;
            }

            writer.Dispose();
            return new SaveResult(manifest, store.FolderOf(name), stopped, Stopwatch.GetElapsedTime(0, longest), writer.BytesWritten);
        }
        catch (SimulatedCrashException)
        {
            writer.Abandon();
            throw;
        }
        catch
        {
            writer.Dispose();
            throw;
        }
    }

    /// <summary>Saves what is left of memory, and everything else, while the machine stands still; null when it has reset or ended.</summary>
    private async Task<(SnapshotManifest Manifest, TimeSpan Stopped)?> SaveRestAsync(PcMachine machine, SnapshotWriter writer, PageSet rest, SnapshotManifest? parent, SaveOptions options)
    {
        long begin = Stopwatch.GetTimestamp();
        Task stopped;
        lock (_lock)
        {
            _isHeldForSaving = true;
            stopped = Close();
        }

        bool isHeld = true;
        void Release()
        {
            lock (_lock)
            {
                isHeld = false;
                _isHeldForSaving = false;
                OpenUnlessHeld();
            }
        }

        (Guid?, PageSet)? before = null;
        IReadOnlyList<DiskEntry> disks = [];
        try
        {
            await StandStillAsync(stopped).ConfigureAwait(false);
            lock (_lock)
            {
                if (_machine != machine || machine.EndReason is not null)
                    return null;
            }

            PageSet last = machine.DirtyPages.Take();
            last.Add(rest);
            writer.WritePages(last, CancellationToken.None);
            List<SavedSection> sections = MachineSections.Save(machine);
            var id = Guid.NewGuid();
            disks = DiskStates.Keep(_disks, writer.Folder, id, options.Ends);
            if (!options.IsPassing)
                before = machine.DirtyPages.Rebase(id);
            var manifest = new SnapshotManifest
            {
                Format = SnapshotManifest.FormatName,
                Version = SnapshotManifest.CurrentVersion,
                Id = id,
                Name = writer.Name,
                Description = options.Description,
                Created = DateTimeOffset.UtcNow,
                GuestTime = machine.Clock.Now,
                Parent = parent?.Name,
                ParentId = parent?.Id,
                Machine = SpecWithMedia.WithFullPaths() with { Engine = _engine },
                Sections = [],
                Pages = 0,
                Disks = disks,
                Readiness = _readiness.Now,
                UnsyncedBoot = options.IsPassing ? HostProcess.BootId : null,
            };
            if (!options.Ends)
                Release();
            TimeSpan time = Stopwatch.GetElapsedTime(begin);
            manifest = writer.Commit(manifest, sections);
            if (options.Ends)
            {
                _suspendedTo = Path.Combine(Path.GetDirectoryName(writer.Folder)!, writer.Name);
                machine.End(new EndRequest(VmExitKind.Suspended, $"the machine was suspended to {_suspendedTo}"));
            }

            return (manifest, time);
        }
        catch when (disks.Count != 0 || before is not null)
        {
            DiskStates.Forget(_disks, disks);
            if (before is not null)
                machine.DirtyPages.Undo(before.Value);
            throw;
        }
        finally
        {
            if (isHeld)
                Release();
        }
    }

    /// <summary>Does something while no vCPU executes; null when the machine has reset or ended instead.</summary>
    private async Task<T?> WithStoppedCpusAsync<T>(PcMachine machine, Func<T> action, Action<long> time)
        where T : class
    {
        long begin = Stopwatch.GetTimestamp();
        Task stopped;
        lock (_lock)
        {
            if (_machine != machine || _state == VmState.Ended)
                return null;
            _isHeldForSaving = true;
            stopped = Close();
        }

        await stopped.ConfigureAwait(false);
        lock (_lock)
        {
            try
            {
                return _machine == machine && machine.EndReason is null ? action() : null;
            }
            finally
            {
                _isHeldForSaving = false;
                OpenUnlessHeld();
                time(Stopwatch.GetTimestamp() - begin);
            }
        }
    }

    // What it touches first is read ahead the next time.
    private async Task RecordWorkingSetAsync(PcMachine machine, string folder)
    {
        await Task.Delay(WorkingSet.Time).ConfigureAwait(false);
        if (!machine.Memory.TryHold())
            return;
        try
        {
            WorkingSet.Record(folder, machine.Memory);
        }
        finally
        {
            machine.Memory.Release();
        }
    }

    // The lock is held.
    private PcMachine RunningMachine() => _state is VmState.Running or VmState.Paused && _machine is PcMachine machine
        ? machine
        : throw new SnapshotException(_state == VmState.Created ? "the machine has not been started; a running one would be right" : "the machine has ended; a running one would be right");

    private void StampDisks(string folder)
    {
        try
        {
            DiskStamps.Write(folder, Spec.Disks);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without them a change goes unnoticed; the state itself is whole.
        }
    }

    private void Revert(SnapshotReader snapshot)
    {
        MachineSpec limits = SpecWithMedia;
        MachineDisk.CloseAll(_disks);
        _disks = [];
        _disks = DiskStates.Open((Spec with { Disks = snapshot.Manifest.Machine.Disks }).WithLimitsOf(limits), snapshot);
        lock (_lock)
            _machine = Build(snapshot);
        TakeReadiness(snapshot.Manifest.Readiness);
    }
}
