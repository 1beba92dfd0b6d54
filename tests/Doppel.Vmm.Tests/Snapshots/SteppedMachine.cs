using System.Security.Cryptography;
using Doppel.Devices.Console;
using Doppel.Machine.Cpu;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Tests.Snapshots;

/// <summary>A PC with one vCPU on deterministic time, run to exact instructions by a test, saved and restored through the files of a snapshot.</summary>
internal sealed class SteppedMachine : IDisposable
{
    private readonly EngineFactory _factory;
    private readonly IExecutionEngine _engine;
    private readonly InstructionClock _clock;
    private readonly VirtualCpu _cpu;
    private ulong _accounted;

    internal SteppedMachine(MachineSpec spec, IBootLoader? kernel, SnapshotReader? snapshot = null)
    {
        Spec = spec with { Clock = ClockKind.Instructions };
        Pc = new PcMachine(Spec, new MachineConnections(), Serial, snapshot is null ? new MachineBoot { Kernel = kernel } : MachineBoot.None);
        if (snapshot is not null)
            Pc.Restore(snapshot);
        Pc.ReleaseDevices();
        _cpu = Pc.Cpus[0];
        _clock = (InstructionClock)Pc.Clock;
        _factory = new EngineFactory(spec.CodeCache);
        _engine = _factory.Create(spec.Engine, _cpu);
        _accounted = _cpu.GetInstructionsRetired();
        _clock.InFlight = () => _cpu.GetInstructionsRetired() + _cpu.InstructionsInFlight - _accounted;
        _clock.DeadlineMoved = () => _cpu.Signal(PendingEvents.Kick);
    }

    internal MachineSpec Spec { get; }

    internal PcMachine Pc { get; }

    internal MemoryConsole Serial { get; } = new();

    internal ulong Retired => _cpu.GetInstructionsRetired();

    public void Dispose()
    {
        _engine.Dispose();
        _factory.Dispose();
        Pc.Dispose();
    }

    /// <summary>Runs until so many instructions have retired since the machine's power-on, or it ends.</summary>
    internal void RunTo(ulong target)
    {
        while (Pc.EndReason is null && _accounted < target)
        {
            ulong budget = Math.Min(_clock.InstructionsUntilNextDeadline, target - _accounted);
            if (budget != 0)
            {
                ExitReason reason = _engine.Run(budget);
                ulong retired = _cpu.GetInstructionsRetired() - _accounted;
                _accounted += retired;
                _clock.Advance(retired);
                if (reason == ExitReason.Halt && Pc.EndReason is null)
                    Assert.True(_clock.SkipToNextDeadline());
            }

            _ = _clock.RunDue();
        }
    }

    internal SnapshotManifest Save(string parentFolder, string name, SnapshotManifest? parent = null)
    {
        using var writer = new SnapshotWriter(parentFolder, name, Pc.Memory);
        _ = Pc.DirtyPages.Take();
        writer.WritePages(parent is null ? Pc.DirtyPages.Written : Pc.DirtyPages.SinceBase, CancellationToken.None);
        var manifest = new SnapshotManifest
        {
            Format = SnapshotManifest.FormatName,
            Version = SnapshotManifest.CurrentVersion,
            Id = Guid.NewGuid(),
            Name = name,
            Created = DateTimeOffset.UtcNow,
            GuestTime = Pc.Clock.Now,
            Parent = parent?.Name,
            ParentId = parent?.Id,
            Machine = Spec,
            Sections = [],
            Pages = 0,
        };
        manifest = writer.Commit(manifest, MachineSections.Save(Pc));
        _ = Pc.DirtyPages.Rebase(manifest.Id);
        return manifest;
    }

    /// <summary>All state, as text that is equal when the machines are.</summary>
    internal string[] State()
    {
        var lines = new List<string>();
        lock (Pc.IoLock)
        {
            foreach (IStateful section in Pc.Sections)
            {
                var writer = new StateWriter();
                section.Save(writer);
                lines.Add($"{section.SectionName} {Convert.ToHexString(writer.ToArray())}");
            }
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (ulong page = 0; page < Pc.Memory.LowRamSize; page += 4096)
            hash.AppendData(Pc.Memory.GetPage(page));
        lines.Add($"memory {Convert.ToHexString(hash.GetHashAndReset())}");
        return [.. lines];
    }
}
