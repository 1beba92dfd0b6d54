using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Lockstep;

/// <summary>
/// One of the two machines: runs to an exact instruction on deterministic time. One thread; several vCPUs take turns of
/// <see cref="RoundRobinLoop.Turn"/> instructions, which do not depend on how a run is cut into steps.
/// </summary>
internal sealed class LockstepMachine : IDisposable
{
    private readonly PcMachine _machine;
    private readonly EngineFactory _factory;
    private readonly List<IExecutionEngine> _engines = [];
    private readonly InstructionClock _clock;
    private readonly ScriptedConsole _console;
    private readonly ulong _interval;
    private ulong _accounted;
    private ulong _delivered;
    private int _current;
    private int _waiting;
    private ulong _turnRetired;

    internal LockstepMachine(LockstepOptions options, string engine, Func<EngineFactory, string, VirtualCpu, IExecutionEngine> create, IBootLoader kernel, BootFile? initrd)
    {
        _interval = options.Interval;
        _console = new ScriptedConsole(options.Input, options.Prompt);
        MachineSpec spec = options.Spec with { Clock = ClockKind.Instructions, RandomSeed = options.Seed, Engine = engine };
        _factory = new EngineFactory(spec.CodeCache);
        _machine = new PcMachine(spec, new MachineConnections(), _console, new MachineBoot { Kernel = kernel, Initrd = initrd });
        try
        {
            foreach (VirtualCpu cpu in Cpus)
                _engines.Add(create(_factory, engine, cpu));
        }
        catch
        {
            Dispose();
            throw;
        }

        _clock = (InstructionClock)_machine.Clock;
        _accounted = Current.GetInstructionsRetired();
        _clock.InFlight = () => Current.GetInstructionsRetired() + Current.InstructionsInFlight - _accounted;
        _clock.DeadlineMoved = () => Current.Signal(PendingEvents.Kick);
    }

    internal IReadOnlyList<VirtualCpu> Cpus => _machine.Cpus;

    /// <summary>Instructions that all vCPUs have retired.</summary>
    internal ulong Retired { get; private set; }

    /// <summary>The vCPU that has retired the last instruction.</summary>
    internal int LastCpu { get; private set; }

    internal ReadOnlyMemory<byte> Output => _console.Output;

    /// <summary>Why the guest has ended; null while it has not.</summary>
    internal string? End { get; private set; }

    /// <summary>Runs until a number of instructions has retired, or the guest ends.</summary>
    internal void RunTo(ulong target)
    {
        while (End is null && Retired < target)
            Step(Math.Min(target, ((Retired / _interval) + 1) * _interval), wholeBlocks: false);
    }

    /// <summary>Runs one block of a translator, or one instruction of another engine or where none is translated.</summary>
    internal void RunBlock()
    {
        ulong start = Retired;
        for (uint length = 1; End is null && Retired == start; length++)
            Step(start + length, wholeBlocks: _engines[_current] is TranslatorEngine && length < 64);
    }

    /// <summary>Limits blocks to one instruction, where the engine has blocks.</summary>
    internal void UseSingleInstructions()
    {
        foreach (TranslatorEngine translator in _engines.OfType<TranslatorEngine>())
            translator.BlockLimit = 1;
    }

    /// <summary>Moves the pages that were written since the last call to a set.</summary>
    internal void TakeDirtyPages(ISet<ulong> pages)
    {
        _machine.Memory.TakeDirtyPages(pages);
        foreach (VirtualCpu cpu in Cpus)
            cpu.Tlb.FlushAll();
    }

    internal ReadOnlySpan<byte> Page(ulong address) => _machine.Memory.GetPage(address);

    /// <summary>The state of everything outside the vCPU and memory, by section.</summary>
    internal IReadOnlyList<(string Name, byte[] State)> SaveParts()
    {
        var sections = new List<(string Name, byte[] State)>();
        lock (_machine.IoLock)
        {
            foreach (IStateful part in _machine.Parts)
            {
                var writer = new StateWriter();
                part.Save(writer);
                sections.Add((part.SectionName, writer.ToArray()));
            }
        }

        return sections;
    }

    /// <summary>Disassembles the code at a vCPU's RIP.</summary>
    internal IReadOnlyList<string> DisassembleGuest(int cpu) => GuestCode.Disassemble(Cpus[cpu], 8);

    /// <summary>Guest-physical address of a vCPU's RIP; null when it is not mapped.</summary>
    internal ulong? CodeAddress(int cpu, ulong rip) => GuestCode.TryGetPhysical(Cpus[cpu], rip, out ulong physical) ? physical : null;

    /// <summary>The emitted code of a vCPU's block at a guest-physical address.</summary>
    internal IReadOnlyList<string> DisassembleHost(int cpu, ulong? physical)
    {
        if (physical is not ulong address || _engines[cpu] is not TranslatorEngine translator)
            return [];
        TranslatedCode code = translator.GetCode(address);
        return code.Bytes is null ? [] : GuestCode.Disassemble(code.Bytes, code.Address, 64, int.MaxValue);
    }

    public void Dispose()
    {
        foreach (IExecutionEngine engine in _engines)
            engine.Dispose();
        _factory.Dispose();
        _machine.Dispose();
    }

    private VirtualCpu Current => Cpus[_current];

    // A machine with one vCPU has no turns to take.
    private ulong TurnLeft => Cpus.Count == 1 ? ulong.MaxValue : RoundRobinLoop.Turn - _turnRetired;

    private void Step(ulong target, bool wholeBlocks)
    {
        ulong most = Math.Min(_clock.InstructionsUntilNextDeadline, TurnLeft);
        ulong budget = Math.Min(most, target - Retired);
        if (budget != 0)
            Execute(budget, wholeBlocks && most >= 64);
        _ = _clock.RunDue();
        // Input comes at multiples of the interval, however the way there is cut into steps.
        if (Retired % _interval == 0 && Retired != _delivered)
        {
            _delivered = Retired;
            _ = _console.Deliver();
        }

        if (_machine.EndReason is EndRequest end)
            End ??= end.Message;
    }

    private void Execute(ulong budget, bool wholeBlocks)
    {
        IExecutionEngine engine = _engines[_current];
        ExitReason reason = wholeBlocks ? ((TranslatorEngine)engine).RunWholeBlocks(budget) : engine.Run(budget);
        ulong retired = Current.GetInstructionsRetired() - _accounted;
        _accounted += retired;
        _turnRetired += retired;
        Retired += retired;
        if (retired != 0)
            LastCpu = _current;
        _clock.Advance(retired);
        if (reason == ExitReason.Shutdown)
            End = $"the guest's processor shut down after a triple fault: {Current.GetLocation()}";
        else if (reason == ExitReason.Halt)
            OnHalt();
        else if (TurnLeft == 0)
            PassTurn();
    }

    // When all vCPUs in turn have nothing to do, time goes on to what wakes one.
    private void OnHalt()
    {
        _waiting = _turnRetired == 0 ? _waiting + 1 : 0;
        PassTurn();
        if (_waiting < Cpus.Count || _machine.EndReason is not null)
            return;
        _waiting = 0;
        if (!_clock.SkipToNextDeadline() && !_console.Deliver())
            End = "the guest is halted and nothing is left to wake it";
    }

    private void PassTurn()
    {
        if (_turnRetired != 0)
            _waiting = 0;
        _turnRetired = 0;
        _current = (_current + 1) % Cpus.Count;
        _accounted = Current.GetInstructionsRetired();
    }
}
