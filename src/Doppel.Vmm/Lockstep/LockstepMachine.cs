using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.State;
using Doppel.Machine.Time;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Execution;

namespace Doppel.Vmm.Lockstep;

/// <summary>One of the two machines: runs to an exact instruction on deterministic time. One thread.</summary>
internal sealed class LockstepMachine : IDisposable
{
    private readonly PcMachine _machine;
    private readonly IExecutionEngine _engine;
    private readonly InstructionClock _clock;
    private readonly ScriptedConsole _console;
    private readonly ulong _interval;
    private ulong _accounted;
    private ulong _delivered;

    internal LockstepMachine(LockstepOptions options, string engine, Func<string, VirtualCpu, IExecutionEngine> create, IBootLoader kernel, BootFile? initrd)
    {
        _interval = options.Interval;
        _console = new ScriptedConsole(options.Input, options.Prompt);
        MachineSpec spec = options.Spec with { Clock = ClockKind.Instructions, RandomSeed = options.Seed, Engine = engine };
        _machine = new PcMachine(spec, new MachineConnections(), _console, kernel, initrd);
        try
        {
            _engine = create(engine, Cpu);
        }
        catch
        {
            _machine.Dispose();
            throw;
        }

        _clock = (InstructionClock)_machine.Clock;
        _accounted = Cpu.GetInstructionsRetired();
        _clock.InFlight = () => Cpu.GetInstructionsRetired() + Cpu.InstructionsInFlight - _accounted;
        _clock.DeadlineMoved = () => Cpu.Signal(PendingEvents.Kick);
    }

    internal VirtualCpu Cpu => _machine.Cpus[0];

    internal ulong Retired => Cpu.GetInstructionsRetired();

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
            Step(start + length, wholeBlocks: _engine is TranslatorEngine && length < 64);
    }

    /// <summary>Limits blocks to one instruction, where the engine has blocks.</summary>
    internal void UseSingleInstructions()
    {
        if (_engine is TranslatorEngine translator)
            translator.BlockLimit = 1;
    }

    /// <summary>Moves the pages that were written since the last call to a set.</summary>
    internal void TakeDirtyPages(ISet<ulong> pages)
    {
        _machine.Memory.TakeDirtyPages(pages);
        Cpu.Tlb.FlushAll();
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

    /// <summary>Disassembles the code at RIP.</summary>
    internal IReadOnlyList<string> DisassembleGuest() => GuestCode.Disassemble(Cpu, 8);

    /// <summary>Guest-physical address of RIP; null when it is not mapped.</summary>
    internal ulong? CodeAddress(ulong rip) => GuestCode.TryGetPhysical(Cpu, rip, out ulong physical) ? physical : null;

    /// <summary>The emitted code of the block at a guest-physical address.</summary>
    internal IReadOnlyList<string> DisassembleHost(ulong? physical)
    {
        if (physical is not ulong address || _engine is not TranslatorEngine translator)
            return [];
        TranslatedCode code = translator.GetCode(address);
        return code.Bytes is null ? [] : GuestCode.Disassemble(code.Bytes, code.Address, 64, int.MaxValue);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _machine.Dispose();
    }

    private void Step(ulong target, bool wholeBlocks)
    {
        ulong budget = Math.Min(_clock.InstructionsUntilNextDeadline, target - Retired);
        if (budget != 0)
            Execute(budget, wholeBlocks && _clock.InstructionsUntilNextDeadline >= 64);
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
        ExitReason reason = wholeBlocks ? ((TranslatorEngine)_engine).RunWholeBlocks(budget) : _engine.Run(budget);
        ulong retired = Retired - _accounted;
        _accounted += retired;
        _clock.Advance(retired);
        if (reason == ExitReason.Shutdown)
            End = $"the guest's processor shut down after a triple fault: {Cpu.GetLocation()}";
        else if (reason == ExitReason.Halt && _machine.EndReason is null && !_clock.SkipToNextDeadline() && !_console.Deliver())
            End = "the guest is halted and nothing is left to wake it";
    }
}
