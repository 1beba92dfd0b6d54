using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Daemon;

/// <summary>The machines that are kept in a state directory. Any thread.</summary>
internal sealed class MachineRegistry : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, ManagedMachine> _machines = new(StringComparer.Ordinal);
    private readonly StateDirectory _state;
    private readonly string _workerProgram;

    /// <summary>Reads the directory, and finds workers again that run.</summary>
    /// <param name="state">The directory.</param>
    /// <param name="workerProgram">The program that runs a machine: "PROGRAM worker NAME".</param>
    internal MachineRegistry(StateDirectory state, string workerProgram)
    {
        _state = state;
        _workerProgram = workerProgram;
        Refresh();
    }

    /// <summary>Forgets the machines, which go on.</summary>
    public void Dispose()
    {
        foreach (ManagedMachine machine in _machines.Values)
            machine.Dispose();
    }

    internal EventHub Events { get; } = new();

    /// <summary>All machines, by name.</summary>
    internal IReadOnlyList<ManagedMachine> List()
    {
        Refresh();
        lock (_lock)
            return [.. _machines.Values.OrderBy(machine => machine.Name, StringComparer.Ordinal)];
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
        if (request.Spec.Kernel.Length == 0)
            throw new SpecException("kernel", "spec.kernel is empty: a kernel's path would be right");
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

    // Finds what is in the directory: at first all machines, later clones that were made there.
    private void Refresh()
    {
        string machines = Path.Combine(_state.Path, "machines");
        foreach (string folder in Directory.Exists(machines) ? Directory.GetDirectories(machines) : [])
        {
            string name = Path.GetFileName(folder);
            lock (_lock)
            {
                if (_machines.ContainsKey(name) || name.StartsWith('.') || !MachineSpecValidation.IsName(name) || new MachineFolder(_state, name).Record is null)
                    continue;
                ManagedMachine machine = Make(name);
                _machines[name] = machine;
                machine.Adopt();
            }
        }
    }

    private ManagedMachine Make(string name) => new(_state, name, Events, _workerProgram, Removed);

    private void Removed(ManagedMachine machine)
    {
        lock (_lock)
            _ = _machines.Remove(machine.Name);
    }
}
