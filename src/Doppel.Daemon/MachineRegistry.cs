using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Vmm;

namespace Doppel.Daemon;

/// <summary>The machines that are kept in a state directory. Any thread.</summary>
internal sealed class MachineRegistry : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, ManagedMachine> _machines = new(StringComparer.Ordinal);
    private readonly StateDirectory _state;
    private readonly SpareWorkers _spares;
    private readonly WorkerLauncher _launcher;
    private readonly CpuScheduler _scheduler;
    private readonly MemoryAdmission _admission;

    /// <summary>Reads the directory, and finds workers again that run.</summary>
    /// <param name="location">Where machines are, and their sockets.</param>
    /// <param name="workerProgram">The program that runs a machine: "PROGRAM worker NAME".</param>
    /// <param name="memoryOvercommit">Most RAM of running machines, as a multiple of the host's.</param>
    /// <param name="spares">How many workers are started before a machine needs them.</param>
    internal MachineRegistry(DaemonLocation location, string workerProgram, double memoryOvercommit = 1, int spares = 0)
    {
        _scheduler = new CpuScheduler(Known);
        _admission = new MemoryAdmission(MemoryAdmission.HostMemory(), memoryOvercommit);
        _state = location.State;
        _spares = new SpareWorkers(workerProgram, spares);
        _launcher = new WorkerLauncher(location, workerProgram, _spares);
        Ledger = new MigrationLedger(_state);
        Arrivals = new MachineArrivals(_state, _launcher, this, Ledger);
        Arrivals.Adopt();
        Refresh();
        _spares.Refill();
    }

    /// <summary>Forgets the machines, which go on.</summary>
    public async ValueTask DisposeAsync()
    {
        await _scheduler.DisposeAsync().ConfigureAwait(false);
        foreach (ManagedMachine machine in _machines.Values)
            machine.Dispose();
        Arrivals.Dispose();
        _spares.Dispose();
    }

    internal EventHub Events { get; } = new();

    /// <summary>Workers that wait for a machine.</summary>
    internal int Spares => _spares.Waiting;

    /// <summary>Machines that come from other daemons.</summary>
    internal MachineArrivals Arrivals { get; }

    /// <summary>What is kept of migrations.</summary>
    internal MigrationLedger Ledger { get; }

    /// <summary>All machines, by name.</summary>
    internal IReadOnlyList<ManagedMachine> List()
    {
        Refresh();
        return [.. Known().OrderBy(machine => machine.Name, StringComparer.Ordinal)];
    }

    /// <summary>A machine is about to start: admits it.</summary>
    /// <exception cref="ApiException">There is no room for its memory.</exception>
    internal IDisposable Admit(MachineSpec spec) => _admission.Admit(
        spec, () => Known().Where(machine => machine.Name != spec.Name && machine.Folder.LiveWorker is not null).Select(machine => machine.Folder.Record?.Spec.Memory ?? 0));

    /// <summary>A machine has begun or ended to run, or has another weight.</summary>
    internal void Reconsider() => _scheduler.Reconsider();

    /// <summary>The names of the machines whose disks have images of another's folder behind them.</summary>
    internal IReadOnlyList<string> FindBehindOthers(ManagedMachine machine) => [.. Known()
        .Where(other => other != machine && BehindOf(other).Any(path => MachinePaths.IsInside(path, machine.Folder.Path)))
        .Select(other => other.Name)
        .Order(StringComparer.Ordinal)];

    private static IReadOnlyList<string> BehindOf(ManagedMachine machine)
    {
        if (machine.Folder.Record is not MachineRecord record)
            return [];
        try
        {
            return record.Behind ?? WorkerLauncher.FindBehind(record.Spec);
        }
        catch (DiskImageException)
        {
            // One that can't be opened has nothing that it could lose.
            return [];
        }
    }

    private IReadOnlyList<ManagedMachine> Known()
    {
        lock (_lock)
            return [.. _machines.Values];
    }

    /// <exception cref="ApiException">None of that name is kept.</exception>
    internal ManagedMachine Find(string name)
    {
        Refresh();
        lock (_lock)
            return _machines.TryGetValue(name, out ManagedMachine? machine) ? machine : throw new ApiException(404, $"{name}: no machine of that name is kept; \"doppel ps --all\" shows all");
    }

    /// <summary>Keeps a new machine.</summary>
    /// <exception cref="SpecException">It can't be.</exception>
    /// <exception cref="ApiException">The name is taken.</exception>
    internal ManagedMachine Create(CreateRequest request)
    {
        request.Spec.Validate();
        string name = request.Spec.Name;
        if (request.Spec.Kernel.Length == 0 && request.Spec.Firmware == FirmwareKind.None)
            throw new SpecException("kernel", "spec.kernel is empty: a kernel's path, or spec.firmware, would be right");
        ManagedMachine machine = Make(name);
        lock (_lock)
        {
            if (_machines.ContainsKey(name))
                throw new ApiException(409, $"{name}: there already is a machine of that name; another name, or removing it first, would be right");
            machine.Folder.Record = new MachineRecord { Spec = request.Spec.WithFullPaths("/"), Restart = request.Restart, AutoRemove = request.AutoRemove, Created = DateTimeOffset.UtcNow };
            _machines[name] = machine;
        }

        Events.Publish(name, "created");
        return machine;
    }

    internal Task RenameAsync(string name, string next, CancellationToken cancel)
    {
        ManagedMachine machine = Find(name);
        lock (_lock)
        {
            if (_machines.ContainsKey(next))
                throw new ApiException(409, $"{next}: there already is a machine of that name");
        }

        return machine.RenameAsync(
            next,
            () =>
            {
                lock (_lock)
                {
                    _ = _machines.Remove(name);
                    _machines[next] = machine;
                }
            },
            cancel);
    }

    // Finds what is in the directory: at first all machines, later clones that were made there, and arrivals that an earlier daemon has begun.
    private void Refresh()
    {
        string machines = Path.Combine(_state.Path, "machines");
        foreach (string folder in Directory.Exists(machines) ? Directory.GetDirectories(machines) : [])
        {
            string name = Path.GetFileName(folder);
            bool hasArrived = MachineSpecValidation.IsName(name) && new MachineFolder(folder) is var arriving && MachineArrivals.HasArrived(arriving) && Arrivals.Conclude(arriving);
            lock (_lock)
            {
                if (hasArrived && _machines.TryGetValue(name, out ManagedMachine? known))
                    known.Adopt();
                if (_machines.ContainsKey(name) || name.StartsWith('.') || !MachineSpecValidation.IsName(name) || new MachineFolder(_state, name).Record is null)
                    continue;
                ManagedMachine machine = Make(name);
                FinishRename(machine);
                _machines[name] = machine;
                machine.Adopt();
            }

            Reconsider();
        }
    }

    private static void FinishRename(ManagedMachine machine)
    {
        try
        {
            ManagedMachine.FinishRename(machine.Folder);
        }
        catch (IOException)
        {
            // The next daemon tries again; until then the machine's start names the path that is not there.
        }
    }

    private ManagedMachine Make(string name) => new(_state, name, this, _launcher, Removed);

    private void Removed(ManagedMachine machine)
    {
        lock (_lock)
            _ = _machines.Remove(machine.Name);
    }
}
