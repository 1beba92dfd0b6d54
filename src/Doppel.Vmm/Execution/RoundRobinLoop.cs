using Doppel.Machine.Cpu;
using Doppel.Machine.Time;

namespace Doppel.Vmm.Execution;

/// <summary>
/// Runs all vCPUs of a machine with a deterministic clock on one thread, in turns of at most <see cref="Turn"/>
/// instructions, so that the same machine always does the same. Guest time counts the instructions of all vCPUs; a vCPU
/// that waits passes its turn on, and when all wait, time skips to the next deadline.
/// </summary>
internal sealed class RoundRobinLoop
{
    /// <summary>Most instructions of one vCPU before the next one's turn.</summary>
    internal const ulong Turn = 4096;

    private readonly PcMachine _machine;
    private readonly IReadOnlyList<IExecutionEngine> _engines;
    private readonly InstructionClock _clock;
    private readonly RunGate _gate;
    private readonly Action _onDebugStop;
    private VirtualCpu _current;
    private ulong _accounted;

    internal RoundRobinLoop(PcMachine machine, IReadOnlyList<IExecutionEngine> engines, InstructionClock clock, RunGate gate, Action onDebugStop)
    {
        _machine = machine;
        _engines = engines;
        _clock = clock;
        _gate = gate;
        _onDebugStop = onDebugStop;
        _current = machine.Cpus[0];
        foreach (VirtualCpu cpu in machine.Cpus.Skip(1))
            cpu.ShareWake(_current);
    }

    /// <summary>Runs until <see cref="PcMachine.EndReason"/> is set.</summary>
    internal void Run()
    {
        _gate.Enter(IsHeld, IsOver);
        int index = 0;
        try
        {
            Select(0);
            _clock.InFlight = () => _current.GetInstructionsRetired() + _current.InstructionsInFlight - _accounted;
            _clock.DeadlineMoved = () => _current.Signal(PendingEvents.Kick);
            int waiting = 0;
            while (_machine.EndReason is null)
            {
                _gate.Pass(IsHeld, IsOver);
                waiting = RunTurn(index) ? waiting + 1 : 0;
                if (waiting >= _engines.Count && _machine.EndReason is null && !_gate.IsClosing)
                {
                    waiting = 0;
                    if (!_clock.SkipToNextDeadline())
                        _current.WaitForSignal(CancellationToken.None);
                }

                _ = _clock.RunDue();
                index = (index + 1) % _engines.Count;
                Select(index);
            }
        }
        catch (Exception e)
        {
            _machine.EndByEngineFailure(_current, _engines[index], e);
        }
        finally
        {
            _gate.Leave();
        }
    }

    // A debugger may hold some vCPUs while others run; with all of them held the thread waits.
    private bool IsHeld() => _machine.Cpus.All(cpu => cpu.Debug is { IsHeld: true });

    private bool IsOver() => _machine.EndReason is not null;

    private void Select(int index)
    {
        _current = _machine.Cpus[index];
        _accounted = _current.GetInstructionsRetired();
    }

    /// <summary>
    /// Runs one vCPU for its turn, through the deadlines in it; true when it waits for a signal and has done nothing before:
    /// what it did may have woken one that waited.
    /// </summary>
    private bool RunTurn(int index)
    {
        if (_current.Debug is { IsHeld: true })
            return true;
        // A machine with one vCPU has no turns to take.
        ulong left = _engines.Count == 1 ? ulong.MaxValue : Turn;
        ulong begin = _accounted;
        while (left != 0 && _machine.EndReason is null && !_gate.IsClosing)
        {
            ulong budget = Math.Min(left, _clock.InstructionsUntilNextDeadline);
            if (budget == 0)
            {
                _ = _clock.RunDue();
                continue;
            }

            ExitReason reason = _engines[index].Run(budget);
            ulong retired = _current.GetInstructionsRetired() - _accounted;
            _accounted += retired;
            _clock.Advance(retired);
            left -= Math.Min(left, retired);
            if (reason == ExitReason.Shutdown)
                _machine.EndByTripleFault(_current);
            else if (reason == ExitReason.Halt)
                return _accounted == begin;
            if (reason != ExitReason.Debug)
                continue;
            _onDebugStop();
            return false;
        }

        return false;
    }
}
