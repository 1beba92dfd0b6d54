using Doppel.Devices.Storage.Images;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Migration;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm;

/// <content>What a migration does with the machine at either end.</content>
public sealed partial class VirtualMachine
{
    private bool _isThrottled;

    // A moment in which only Doppel holds the machine is none in which its user has paused it. The lock is held.
    private VmState ShownState => _state == VmState.Paused && !_isPaused && !_isDebugStopped ? VmState.Running : _state;

    /// <summary>Bytes of RAM and what else the source must say of the machine before it is stopped.</summary>
    internal IReadOnlyList<MachineDisk> Disks => _disks;

    /// <summary>The networks, in the order of the cards.</summary>
    internal IReadOnlyList<MachineNetwork> Networks => _networks;

    /// <summary>The machine as it is now: its engine, and the addresses that its cards have got.</summary>
    internal MachineSpec PresentSpec
    {
        get
        {
            lock (_lock)
                return SpecWithMedia.WithFullPaths() with { Engine = _engine, Networks = [.. _networks.Select(network => network.Spec with { Mac = network.Address })] };
        }
    }

    /// <summary>Makes a machine into which another's memory and state will come; nothing runs.</summary>
    /// <exception cref="SpecException">The specification can't be, on this host.</exception>
    internal static VirtualMachine CreateForArrival(MachineSpec spec, MachineConnections connections, IReadOnlyList<MachineDisk> disks, IReadOnlyList<MachineNetwork> networks)
    {
        (spec, string? reason) = EngineChoice.Make(spec, isNew: false);
        var machine = new VirtualMachine(spec, connections, new BootFiles(spec), disks, networks) { EngineReason = reason };
        try
        {
            machine.ServeVnc();
            machine.OpenPrinter();
            machine._machine = machine.MakeForArrival();
            return machine;
        }
        catch
        {
            machine.Abandon();
            machine._boot.Dispose();
            throw;
        }
    }

    /// <summary>The parts of a machine that has not started.</summary>
    internal PcMachine ArrivingMachine => _machine!;

    /// <summary>Begins anew with empty memory: the guest was reset on its way.</summary>
    internal void ArriveAnew()
    {
        lock (_lock)
        {
            Debugger.Release();
            DropPrepared();
            _machine!.Dispose();
            _machine = null;
            _machine = MakeForArrival();
        }
    }

    /// <summary>Where the guest's code has been translated, the newest first; none under other engines.</summary>
    internal ulong[] GetTranslatedPlaces(int most)
    {
        lock (_lock)
            return _factory?.GetTranslatedPlaces(most) ?? [];
    }

    /// <summary>True for a machine that has not started and whose engine can translate ahead.</summary>
    internal bool TranslatesAhead => _engine == EngineNames.Translator && _machine?.Clock is HostClock;

    /// <summary>Translates code of a machine that has not started, whose memory is there, so that it needn't when it starts.</summary>
    internal void TranslateAhead(ReadOnlySpan<ulong> places)
    {
        lock (_lock)
        {
            if (!TranslatesAhead)
                return;
            if (_prepared is null)
                Prepare(_engine, _machine!);
            _prepared!.Value.Factory.TranslateAhead(_machine!.Cpus[0], places);
        }
    }

    /// <summary>Takes over the state; memory is in place.</summary>
    /// <exception cref="SnapshotException">A section doesn't fit.</exception>
    internal void Arrive(IReadOnlyList<SavedSection> sections, MachineRemainder remainder)
    {
        lock (_lock)
        {
            PcMachine machine = _machine!;
            _serial.Put(remainder.Input);
            machine.Restore(sections);
            ForgetCounts(machine);
            _generation = remainder.GenerationId;
            RebootCount = remainder.RebootCount;
            TakeReadiness(remainder.Readiness);
            _isPaused = remainder.IsPaused;
            _balloonTarget = remainder.BalloonTarget;
            foreach (int card in remainder.Unplugged.Where(card => card >= 0 && card < _unplugged.Length))
            {
                _unplugged[card] = true;
                machine.NetworkCards[card].IsPluggedIn = false;
            }
        }
    }

    /// <summary>Lets the disks of a machine that has not started be what was opened for them.</summary>
    internal void ExchangeDisks(IReadOnlyList<MachineDisk> disks)
    {
        lock (_lock)
            _disks = disks;
    }

    /// <summary>Keeps savers away until all of the memory is there; the machine may run meanwhile.</summary>
    internal void AwaitMemory(GuestMemory memory, Task completed)
    {
        // Nobody has this machine yet.
        _saving.Wait();
        _ = completed.ContinueWith(
            done =>
            {
                memory.EndAwait();
                _ = _saving.Release();
            },
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnRanToCompletion | TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }

    /// <summary>Keeps savers away until <see cref="EndMigration"/>.</summary>
    internal Task BeginMigrationAsync(CancellationToken cancel) => _saving.WaitAsync(cancel);

    internal void EndMigration() => _ = _saving.Release();

    /// <exception cref="MigrationException">The machine doesn't run.</exception>
    internal PcMachine MovingMachine()
    {
        try
        {
            lock (_lock)
                return RunningMachine();
        }
        catch (SnapshotException e)
        {
            throw new MigrationException(e.Message, e);
        }
    }

    /// <summary>The pages that were written since the last call; null when the guest was reset or the machine has ended.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="all">True for all that were ever written.</param>
    internal Task<PageSet?> TakeDirtyAsync(PcMachine machine, bool all) => WithStoppedCpusAsync(
        machine,
        () =>
        {
            PageSet dirty = machine.DirtyPages.Take();
            return all ? machine.DirtyPages.Written.Clone() : dirty;
        },
        _ => { });

    /// <summary>Stops the machine with its devices, as for a snapshot, until <see cref="GoOn"/>.</summary>
    /// <returns>False when the guest was reset or the machine has ended.</returns>
    internal async Task<bool> StandStillForMigrationAsync(PcMachine machine)
    {
        Task stopped;
        lock (_lock)
        {
            if (_machine != machine || _state == VmState.Ended)
                return false;
            _isHeldForSaving = true;
            stopped = Close();
        }

        await StandStillAsync(stopped).ConfigureAwait(false);
        lock (_lock)
            return _machine == machine && machine.EndReason is null;
    }

    /// <summary>Lets a machine go on that stood still for a migration.</summary>
    internal void GoOn()
    {
        lock (_lock)
        {
            _isHeldForSaving = false;
            OpenUnlessHeld();
        }
    }

    /// <summary>Stops the vCPUs for a moment, or lets them go on, so that the guest does less. Time and devices go on.</summary>
    internal void Throttle(bool isStopped)
    {
        lock (_lock)
        {
            if (_isThrottled == isStopped || _state is VmState.Created or VmState.Ended)
                return;
            _isThrottled = isStopped;
            if (!isStopped)
                OpenUnlessHeld();
            else if (_state == VmState.Running)
                _ = Close();
        }
    }

    /// <summary>What is no part's state. The machine stands still.</summary>
    internal MachineRemainder TakeRemainder()
    {
        lock (_lock)
        {
            IEnumerable<int> unplugged = Enumerable.Range(0, _unplugged.Length).Where(card => _unplugged[card]);
            return new MachineRemainder(_generation, _isPaused, RebootCount, _balloonTarget, [.. unplugged], _serial.Take()) { Readiness = _readiness.Now };
        }
    }

    /// <summary>Gives the machine back what <see cref="TakeRemainder"/> has taken from it.</summary>
    internal void ReturnRemainder(MachineRemainder remainder) => _serial.Put(remainder.Input);

    /// <summary>Closes images, so that another process can open them. The machine stands still, and nothing is under way.</summary>
    /// <param name="numbers">Which.</param>
    /// <exception cref="IOException">One can't be flushed.</exception>
    internal void CloseDisks(IEnumerable<int> numbers)
    {
        List<MachineDisk> disks = [.. _disks];
        foreach (int i in numbers)
        {
            disks[i].Image.Flush();
            var absent = new AbsentImage(disks[i].Image);
            ((ImageBackend)disks[i].Backend).Exchange(absent).Dispose();
            disks[i] = disks[i] with { Image = absent };
            ExchangeDisks([.. disks]);
        }
    }

    /// <summary>Opens images again that <see cref="CloseDisks"/> has closed.</summary>
    /// <exception cref="DiskImageException">One can't be opened; those before it are.</exception>
    internal void ReopenDisks()
    {
        List<MachineDisk> disks = [.. _disks];
        for (int i = 0; i < disks.Count; i++)
        {
            if (disks[i].Image is not AbsentImage)
                continue;
            disks[i] = Reopened(disks[i]);
            ExchangeDisks([.. disks]);
        }
    }

    /// <summary>Opens the image of a disk whose place is kept.</summary>
    /// <exception cref="DiskImageException">It can't be opened, or is another disk's.</exception>
    internal static MachineDisk Reopened(MachineDisk disk)
    {
        DiskImage image = MachineDisk.OpenImage(disk.Spec);
        try
        {
            ((ImageBackend)disk.Backend).Exchange(image).Dispose();
        }
        catch
        {
            image.Dispose();
            throw;
        }

        return disk with { Image = image };
    }

    /// <summary>Ends the machine: it goes on elsewhere.</summary>
    internal void EndMoved(PcMachine machine, string where)
    {
        machine.End(new EndRequest(VmExitKind.Migrated, $"the machine was moved to {where}"));
        GoOn();
    }

    private PcMachine MakeForArrival()
    {
        _isBootCounted = false;
        var machine = new PcMachine(Spec, _connections, _serial, _boot.LoadForState(), _disks, _networks)
        {
            Ended = _gate.Wake,
            StorageFull = e => _ = Task.Run(() => PauseForStorageAsync(e)),
        };
        Debugger.Attach(machine.Cpus);
        return machine;
    }
}
