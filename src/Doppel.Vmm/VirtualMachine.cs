using System.Diagnostics;
using Doppel.Devices.Console;
using Doppel.Devices.Display;
using Doppel.Devices.Input;
using Doppel.Devices.Pc;
using Doppel.Devices.Virtio;
using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Consoles;
using Doppel.Vmm.Debugging;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Readiness;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm;

/// <summary>
/// A virtual machine: made from a specification, started, paused, resumed, stopped. It ends by itself when its guest
/// powers off or fails. Members may be called by any thread.
/// </summary>
public sealed partial class VirtualMachine : IAsyncDisposable
{
    private readonly Lock _lock = new();
    private MachineConnections _connections;
    private readonly KeptInput _serial;
    private readonly GuestConsole? _console;
    private readonly BootFiles _boot;
    private IReadOnlyList<MachineNetwork> _networks;
    private readonly bool[] _unplugged;
    private readonly RunGate _gate = new();
    private readonly TaskCompletionSource<VmExit> _exit = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly EngineStatistics[] _endedBoots;
    private PcMachine? _machine;
    private EndRequest? _stop;
    private VmState _state;
    private bool _isPaused;
    private bool _isDebugStopped;
    private TaskCompletionSource? _reset;
    private ulong _balloonTarget;
    private IReadOnlyList<MachineDisk> _disks;
    private string _engine;
    private string? _lastEngine;
    private bool _isBootCounted;
    private List<IExecutionEngine> _engines = [];
    private EngineFactory? _factory;
    private long _started;
    private long _stopped;

    private VirtualMachine(MachineSpec spec, MachineConnections connections, BootFiles boot, IReadOnlyList<MachineDisk> disks, IReadOnlyList<MachineNetwork> networks)
    {
        Spec = spec;
        _engine = spec.Engine;
        _readiness = new ReadinessLog(ReadinessLog.ExpectsSetUp(spec.CommandLine));
        _disks = disks;
        _networks = networks;
        _unplugged = new bool[networks.Count];
        _connections = connections with { Display = connections.Display ?? new GuestDisplay(), Input = connections.Input ?? new GuestInput(), Speaker = (Action<SpeakerTone>)_tones.Add + connections.Speaker };
        _boot = boot;
        if (connections.Serial1 is null)
        {
            var memory = new MemoryConsole();
            _console = new GuestConsole(memory);
            _serial = new KeptInput(new ConsoleWatch(memory, _readiness));
        }
        else
        {
            _serial = new KeptInput(new ConsoleWatch(connections.Serial1, _readiness));
        }

        WatchNetworks();

        _generation = FirstGeneration(spec);
        _endedBoots = [.. Enumerable.Repeat(new EngineStatistics(), spec.Cpus)];
        Debugger = new MachineDebugger(this);
    }

    /// <summary>What the machine is made of. Its engine is the one with which it began.</summary>
    public MachineSpec Spec { get; }

    /// <summary>Why <see cref="EngineNames.Auto"/> didn't give KVM; null when it did or wasn't asked for.</summary>
    public string? EngineReason { get; private init; }

    /// <summary>Where the machine is in its life.</summary>
    public VmState State
    {
        get
        {
            lock (_lock)
                return ShownState;
        }
    }

    /// <summary>The guest's serial console, unless the first serial port is connected elsewhere.</summary>
    /// <exception cref="InvalidOperationException">It is.</exception>
    public GuestConsole Console => _console ?? throw new InvalidOperationException("the first serial port is connected elsewhere (MachineConnections.Serial1)");

    /// <summary>Debugs the machine; <see cref="GdbServer"/> offers it to GDB.</summary>
    public MachineDebugger Debugger { get; }

    /// <summary>Instructions that the vCPUs have executed, over all boots; counted when a boot has ended.</summary>
    public ulong InstructionsRetired { get; private set; }

    /// <summary>What the machine has done since its start. Any thread, at any time of its life.</summary>
    public MachineStatistics GetStatistics()
    {
        lock (_lock)
        {
            EngineStatistics[] now = [.. _endedBoots];
            for (int i = 0; i < now.Length; i++)
            {
                if (_engines.Count != 0)
                    now[i] += _engines[i].GetStatistics();
                else if (_machine is not null && !_isBootCounted)
                    now[i] += _machine.Cpus[i].GetStatistics();
            }

            long end = _stopped != 0 ? _stopped : Stopwatch.GetTimestamp();
            return new MachineStatistics
            {
                Name = Spec.Name,
                ProcessId = Environment.ProcessId,
                Engine = _engine,
                NestedPaging = _engine == EngineNames.Kvm ? KvmMachine.NestedPaging : null,
                MappedPages = _factory?.MappedPages,
                HasKernelApics = _factory?.HasKernelApics,
                EngineReason = _engine == Spec.Engine ? EngineReason : null,
                SwitchSeconds = _lastSwitch?.TotalSeconds,
                Memory = Spec.Memory,
                State = ShownState,
                Readiness = _readiness.Now,
                Seconds = _started == 0 ? 0 : Stopwatch.GetElapsedTime(_started, end).TotalSeconds,
                RebootCount = RebootCount,
                Total = now.Aggregate(EngineStatistics.Add),
                Cpus = now,
            };
        }
    }

    /// <summary>How often the guest has reset the machine.</summary>
    public int RebootCount { get; private set; }

    /// <summary>Makes a machine and loads its kernel; nothing runs yet.</summary>
    /// <exception cref="SpecException">The specification can't be.</exception>
    /// <exception cref="BootException">The kernel or initial RAM disk can't be loaded.</exception>
    /// <exception cref="Doppel.Devices.Storage.Images.DiskImageException">A disk's image can't be opened.</exception>
    /// <exception cref="Doppel.Devices.Network.NetworkException">A network can't be had.</exception>
    /// <exception cref="Doppel.Host.HostException">The host refuses memory or a timer.</exception>
    public static VirtualMachine Create(MachineSpec spec, MachineConnections? connections = null)
    {
        ArgumentNullException.ThrowIfNull(spec);
        spec.Validate();
        (spec, string? reason) = EngineChoice.Make(spec, isNew: true);
        var boot = new BootFiles(spec);
        IReadOnlyList<MachineDisk> disks = [];
        IReadOnlyList<MachineNetwork> networks = [];
        VirtualMachine? machine = null;
        try
        {
            _ = boot.Load();
            disks = MachineDisk.OpenAll(spec);
            networks = MachineNetwork.OpenAll(spec);
            machine = new VirtualMachine(spec, connections ?? new MachineConnections(), boot, disks, networks) { EngineReason = reason };
            machine.ServeVnc();
            machine.OpenPrinter();
            machine._machine = machine.Build(null);
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

    /// <summary>Lets the machine run; when its debugger has stopped it before, it waits for the debugger.</summary>
    /// <exception cref="InvalidOperationException">It was started before.</exception>
    public void Start()
    {
        lock (_lock)
        {
            if (_state != VmState.Created)
                throw new InvalidOperationException("the machine was started before");
            _state = VmState.Running;
            _started = Stopwatch.GetTimestamp();
            if (_isDebugStopped || _isPaused)
                _ = Close();
        }

        CpuCap ??= Spec.CpuCap;
        if (_restoredFrom is string folder && !WorkingSet.Exists(folder))
            _ = RecordWorkingSetAsync(_machine!, folder);
        new Thread(Supervise) { IsBackground = true, Name = "doppel-vcpu0" }.Start();
    }

    /// <summary>Stops the vCPUs and the guest's time. Completes when both stand still.</summary>
    public async Task PauseAsync()
    {
        Task stopped;
        lock (_lock)
        {
            if (_state is VmState.Created or VmState.Ended)
                return;
            _isPaused = true;
            _waitsForRoom = false;
            stopped = Close();
        }

        await StandStillAsync(stopped).ConfigureAwait(false);
    }

    /// <summary>Lets a paused machine go on, unless its debugger has stopped it.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            _isPaused = false;
            _waitsForRoom = false;
            OpenUnlessHeld();
        }
    }

    /// <summary>Resets the machine as its reset button does. Completes when it has begun anew, or ended because it doesn't reboot.</summary>
    public Task ResetAsync()
    {
        lock (_lock)
        {
            if (_state is VmState.Created or VmState.Ended)
                return Task.CompletedTask;
            _reset ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _machine?.End(new EndRequest(VmExitKind.Reset, "the machine was reset"));
            return _reset.Task;
        }
    }

    /// <summary>Ends the machine at once, whatever its guest does.</summary>
    /// <returns>How it ended: <see cref="VmExitKind.Stopped"/> unless the guest was faster.</returns>
    public Task<VmExit> StopAsync()
    {
        lock (_lock)
        {
            _stop = new EndRequest(VmExitKind.Stopped, "the machine was stopped");
            if (_state == VmState.Created)
            {
                _state = VmState.Ended;
                Debugger.Release();
                DropPrepared();
                _machine?.Dispose();
                _machine = null;
                MachineNetwork.CloseAll(_networks);
                MachineDisk.CloseAll(_disks);
                _boot.Dispose();
                ClosePrinter();
                _ = _exit.TrySetResult(ToExit(_stop));
            }

            _machine?.End(_stop);
            _gate.Open();
        }

        return _exit.Task;
    }

    /// <summary>Waits for the end.</summary>
    public Task<VmExit> WaitAsync(CancellationToken cancel = default) => _exit.Task.WaitAsync(cancel);

    /// <summary>Presses the power button: a guest that listens shuts itself down.</summary>
    /// <returns>False when the guest doesn't listen: it has no ACPI, or no driver for the button, or has not come so far.</returns>
    public bool PressPowerButton()
    {
        lock (_lock)
        {
            if (_machine is not PcMachine machine)
                return false;
            lock (machine.IoLock)
            {
                machine.PowerManagement.PressPowerButton();
                return machine.PowerManagement.ListensToPowerButton;
            }
        }
    }

    /// <summary>
    /// Bytes that the balloon asks the guest to give back, kept over resets; less lets the guest have them again. Without
    /// effect on a machine without a balloon (<see cref="MachineSpec.Balloon"/>) or a guest without its driver.
    /// </summary>
    public ulong BalloonTarget
    {
        get
        {
            lock (_lock)
                return _balloonTarget;
        }

        set
        {
            lock (_lock)
            {
                _balloonTarget = value;
                if (_machine?.Balloon is VirtioBalloon balloon)
                    balloon.Target = value;
            }
        }
    }

    /// <summary>Bytes that the guest has given to the balloon; null when there is none.</summary>
    public ulong? BalloonSize
    {
        get
        {
            lock (_lock)
                return _machine?.Balloon?.Actual;
        }
    }

    /// <summary>Pulls the cable of a network card, or plugs it in; kept over resets. The guest sees the state of its link.</summary>
    /// <param name="card">Number of the card in <see cref="MachineSpec.Networks"/>.</param>
    /// <param name="isPluggedIn">False to pull it.</param>
    public void PlugNetwork(int card, bool isPluggedIn)
    {
        lock (_lock)
        {
            _unplugged[card] = !isPluggedIn;
            if (_machine is PcMachine machine)
                machine.NetworkCards[card].IsPluggedIn = isPluggedIn;
        }
    }

    /// <summary>The addresses of the network cards, in their order.</summary>
    public IReadOnlyList<Doppel.Devices.Network.MacAddress> NetworkAddresses => [.. _networks.Select(network => network.Address)];

    /// <summary>Says where the vCPUs are; pauses the machine for a moment.</summary>
    public async Task<IReadOnlyList<CpuLocation>> LocateCpusAsync()
    {
        bool wasRunning = State == VmState.Running;
        await PauseAsync().ConfigureAwait(false);
        IReadOnlyList<CpuLocation> locations;
        lock (_lock)
            locations = _machine is null ? [] : [.. _machine.Cpus.Select(c => c.GetLocation())];
        if (wasRunning)
            Resume();
        return locations;
    }

    /// <summary>Stops the machine and frees what it holds.</summary>
    public async ValueTask DisposeAsync() => _ = await StopAsync().ConfigureAwait(false);

    /// <summary>Stops the machine for its debugger, also before it starts. Completes when it stands still.</summary>
    internal async Task StopForDebuggerAsync()
    {
        Task stopped;
        lock (_lock)
        {
            if (_state == VmState.Ended)
                return;
            _isDebugStopped = true;
            if (_state == VmState.Created)
                return;
            stopped = Close();
        }

        await StandStillAsync(stopped).ConfigureAwait(false);
    }

    /// <summary>Lets the machine go on, unless it is paused.</summary>
    internal void ResumeForDebugger()
    {
        lock (_lock)
        {
            _isDebugStopped = false;
            OpenUnlessHeld();
        }
    }

    /// <summary>Does something while the machine can be neither rebuilt nor let go on.</summary>
    internal T Locked<T>(Func<T> use)
    {
        lock (_lock)
            return use();
    }

    private void OnDebugStop()
    {
        lock (_lock)
        {
            _isDebugStopped = true;
            if (_state is VmState.Running or VmState.Paused)
                _ = Close();
        }

        Debugger.OnStop();
    }

    // The lock is held.
    private Task Close()
    {
        _state = VmState.Paused;
        Task stopped = _gate.CloseAsync();
        _machine?.Kick();
        return stopped;
    }

    private async Task StandStillAsync(Task stopped)
    {
        await stopped.ConfigureAwait(false);
        Task held = Task.CompletedTask;
        lock (_lock)
        {
            if (_state != VmState.Paused || _machine is null)
                return;
            (_machine.Clock as HostClock)?.Pause();
            held = _machine.HoldDevicesAsync();
            // Nothing new comes; what waits for a limit is not to be waited for.
            foreach (MachineDisk disk in _disks)
                (disk.Backend as Devices.Storage.Images.ImageBackend)?.Hurry();
        }

        await held.ConfigureAwait(false);
    }

    // The lock is held.
    private void OpenUnlessHeld()
    {
        if (_state != VmState.Paused || _isPaused || _isDebugStopped || _isHeldForSaving || _isThrottled)
            return;
        (_machine?.Clock as HostClock)?.Resume();
        _machine?.ReleaseDevices();
        _state = VmState.Running;
        _gate.Open();
    }

    private PcMachine Build(SnapshotReader? snapshot)
    {
        _isBootCounted = false;
        var machine = new PcMachine(Spec, _connections, _serial, snapshot is null ? _boot.Load() : _boot.LoadForState(), _disks, _networks)
        {
            Ended = _gate.Wake,
            // Not on the image's thread: whoever holds the machine's lock may be waiting for what that thread does next.
            StorageFull = e => _ = Task.Run(() => PauseForStorageAsync(e)),
        };
        _boot.Release();
        if (snapshot is not null)
            Restore(machine, snapshot);
        ShowGeneration(machine, isRestored: snapshot is not null);
        Debugger.Attach(machine.Cpus);
        for (int i = 0; i < _unplugged.Length; i++)
            machine.NetworkCards[i].IsPluggedIn = !_unplugged[i];
        if (machine.Balloon is VirtioBalloon balloon)
            balloon.Target = _balloonTarget;
        return machine;
    }

    private void Supervise()
    {
        EndRequest end;
        try
        {
            while (true)
            {
                end = RunOnce();
                if (TakeRevert() is (SnapshotReader snapshot, TaskCompletionSource done))
                {
                    try
                    {
                        Revert(snapshot);
                        done.SetResult();
                    }
                    catch (Exception e)
                    {
                        done.SetException(e);
                        throw;
                    }

                    continue;
                }

                if (end.Kind != VmExitKind.Reset || !Spec.RebootOnReset)
                    break;
                RebootCount++;
                lock (_lock)
                {
                    Debugger.Release();
                    _machine!.Dispose();
                    _machine = null;
                    BeginReadiness();
                    _machine = Build(null);
                    _ = _reset?.TrySetResult();
                    _reset = null;
                }
            }
        }
        catch (Exception e)
        {
            end = new EndRequest(VmExitKind.InternalError, e.Message) { Error = e };
        }

        EndLimits();
        lock (_lock)
        {
            _state = VmState.Ended;
            _stopped = Stopwatch.GetTimestamp();
            Debugger.Release();
            DropPrepared();
            _machine?.Dispose();
            _machine = null;
            _ = _reset?.TrySetResult();
            _ = _engineChanged?.TrySetResult();
            _ = _revert?.Done.TrySetException(new SnapshotException("the machine has ended; a running one would be right"));
        }

        MachineNetwork.CloseAll(_networks);
        MachineDisk.CloseAll(_disks);
        _boot.Dispose();
        ClosePrinter();
        if (_suspendedTo is string folder)
            StampDisks(folder);
        _ = _exit.TrySetResult(ToExit(end));
    }

    private EndRequest RunOnce()
    {
        PcMachine machine;
        lock (_lock)
        {
            machine = _machine!;
            if (_stop is not null)
                return _stop;
            if (_state == VmState.Running)
            {
                (machine.Clock as HostClock)?.Resume();
                machine.ReleaseDevices();
            }
        }

        while (machine.EndReason is null)
            RunEngines(machine);
        lock (_lock)
        {
            DropPrepared();
            _isBootCounted = true;
            for (int i = 0; i < _endedBoots.Length; i++)
            {
                _endedBoots[i] += machine.Cpus[i].GetStatistics();
                InstructionsRetired += machine.Cpus[i].GetInstructionsRetired();
            }
        }

        (machine.Clock as HostClock)?.Pause();
        return machine.EndReason!;
    }

    /// <summary>Runs the machine under the present engine until it ends or changes its engine.</summary>
    private void RunEngines(PcMachine machine)
    {
        // All engines exist before one runs: each watches the writes of all vCPUs.
        using EngineFactory factory = TakeFactory();
        var engines = new List<IExecutionEngine>();
        try
        {
            string engine;
            lock (_lock)
            {
                machine.ChangesEngine = false;
                engine = _engine;
            }

            try
            {
                foreach (VirtualCpu cpu in machine.Cpus)
                    engines.Add(factory.Create(engine, cpu));
            }
            catch (KvmException e) when (FallBack(engine, e))
            {
                return;
            }

            lock (_lock)
            {
                _engines = engines;
                _factory = factory;
                _lastEngine = engine;
                if (!machine.ChangesEngine)
                {
                    if (_engineChanged is not null && _switchBegan != 0)
                        _lastSwitch = Stopwatch.GetElapsedTime(_switchBegan);
                    _switchBegan = 0;
                    _ = _engineChanged?.TrySetResult();
                    _engineChanged = null;
                }
            }

            if (machine.Clock is InstructionClock clock)
                new RoundRobinLoop(machine, engines, clock, _gate, OnDebugStop).Run();
            else
                RunThreads(machine, engines);
        }
        finally
        {
            lock (_lock)
            {
                for (int i = 0; i < _engines.Count; i++)
                    _endedBoots[i] += _engines[i].GetStatistics() + machine.Cpus[i].GetStatistics().NegateVcpu();

                _engines = [];
                _factory = null;
            }

            foreach (IExecutionEngine engine in engines)
                engine.Dispose();
        }
    }

    /// <summary>A running machine keeps its engine when KVM won't have it.</summary>
    private bool FallBack(string engine, KvmException error)
    {
        lock (_lock)
        {
            if (_lastEngine is not string last || last == engine)
                return false;
            _engine = last;
            _ = _engineChanged?.TrySetException(new SpecException("engine", $"--engine {engine}: {error.Message}"));
            _engineChanged = null;
            return true;
        }
    }

    private void Restore(PcMachine machine, SnapshotReader snapshot)
    {
        try
        {
            machine.Restore(snapshot);
        }
        catch
        {
            machine.Dispose();
            throw;
        }

        ForgetCounts(machine);
    }

    // What was counted before the snapshot was made is not this machine's doing.
    private void ForgetCounts(PcMachine machine)
    {
        for (int i = 0; i < _endedBoots.Length; i++)
        {
            EngineStatistics before = machine.Cpus[i].GetStatistics();
            _endedBoots[i] += before.NegateVcpu();
            InstructionsRetired -= before.Instructions;
        }
    }

    private (SnapshotReader Snapshot, TaskCompletionSource Done)? TakeRevert()
    {
        lock (_lock)
        {
            (SnapshotReader Snapshot, TaskCompletionSource Done)? revert = _machine!.EndReason is { Kind: VmExitKind.Reset } ? _revert : null;
            if (revert is null)
                return null;
            _revert = null;
            Debugger.Release();
            _machine.Dispose();
            _machine = null;
            return revert;
        }
    }

    /// <summary>A thread for each vCPU; this one is the first's. Returns when all have ended.</summary>
    private void RunThreads(PcMachine machine, List<IExecutionEngine> engines)
    {
        var threads = new List<Thread>();
        for (int i = 1; i < engines.Count; i++)
        {
            var loop = new VcpuLoop(machine, machine.Cpus[i], engines[i], _gate, OnDebugStop);
            var thread = new Thread(loop.Run) { IsBackground = true, Name = $"doppel-vcpu{i}" };
            thread.Start();
            threads.Add(thread);
        }

        new VcpuLoop(machine, machine.Cpus[0], engines[0], _gate, OnDebugStop).Run();
        foreach (Thread thread in threads)
            thread.Join();
    }

    private static VmExit ToExit(EndRequest end) => new()
    {
        Kind = end.Kind,
        Message = end.Message,
        DebugStatus = end.DebugStatus,
        Location = end.Location,
        Error = end.Error,
    };
}
