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
    private readonly TurnState _turns;
    private VirtualCpu _current;
    private ulong _accounted;

    internal RoundRobinLoop(PcMachine machine, IReadOnlyList<IExecutionEngine> engines, InstructionClock clock, RunGate gate, Action onDebugStop)
    {
        _machine = machine;
        _engines = engines;
        _clock = clock;
        _gate = gate;
        _onDebugStop = onDebugStop;
        _turns = machine.Turns;
        _current = machine.Cpus[0];
        foreach (VirtualCpu cpu in machine.Cpus.Skip(1))
            cpu.ShareWake(_current);
    }

    /// <summary>Runs until <see cref="PcMachine.IsOver"/>, from the turn that <see cref="PcMachine.Turns"/> says.</summary>
    internal void Run()
    {
        _gate.Enter(IsHeld, IsOver);
        try
        {
            Select(_turns.Index);
            _clock.InFlight = () => _current.GetInstructionsRetired() + _current.InstructionsInFlight - _accounted;
            _clock.DeadlineMoved = () => _current.Signal(PendingEvents.Kick);
            while (!IsOver())
            {
                _gate.Pass(IsHeld, IsOver);
                if (IsOver())
                    break;
                if (_turns.Waiting >= _engines.Count)
                {
                    _turns.Waiting = 0;
                    if (!_clock.SkipToNextDeadline())
                        _current.WaitForSignal(CancellationToken.None);
                }
                else if (RunTurn())
                {
                    EndTurn();
                }
            }
        }
        catch (Exception e)
        {
            _machine.EndByEngineFailure(_current, _engines[_turns.Index], e);
        }
        finally
        {
            _gate.Leave();
        }
    }

    // A debugger may hold some vCPUs while others run; with all of them held the thread waits.
    private bool IsHeld() => _machine.Cpus.All(cpu => cpu.Debug is { IsHeld: true });

    private bool IsOver() => _machine.IsOver;

    private void Select(int index)
    {
        _current = _machine.Cpus[index];
        _accounted = _current.GetInstructionsRetired();
    }

    private void EndTurn()
    {
        _turns.Retired = 0;
        // A timer that is due now may wake one of those that wait: time must not move on then.
        if (_clock.RunDue() != 0 && _turns.Waiting >= _engines.Count)
            _turns.Waiting = 0;
        _turns.Index = (_turns.Index + 1) % _engines.Count;
        Select(_turns.Index);
    }

    /// <summary>
    /// Runs one vCPU for its turn, through the deadlines in it. One that waits for a signal and has done nothing before counts
    /// as waiting: what it did may have woken one that waited.
    /// </summary>
    /// <returns>False when the turn is interrupted, to be gone on with.</returns>
    private bool RunTurn()
    {
        if (_current.Debug is { IsHeld: true })
        {
            _turns.Waiting++;
            return true;
        }

        // A machine with one vCPU has no turns to take.
        ulong length = _engines.Count == 1 ? ulong.MaxValue : Turn;
        while (_turns.Retired < length)
        {
            if (_machine.IsOver || _gate.IsClosing)
                return false;
            ulong budget = Math.Min(length - _turns.Retired, _clock.InstructionsUntilNextDeadline);
            if (budget == 0)
            {
                _ = _clock.RunDue();
                continue;
            }

            ExitReason reason = _engines[_turns.Index].Run(budget);
            ulong retired = _current.GetInstructionsRetired() - _accounted;
            _accounted += retired;
            _clock.Advance(retired);
            _turns.Retired += retired;
            if (reason == ExitReason.Shutdown)
                _machine.EndByTripleFault(_current);
            if (reason != ExitReason.Halt && reason != ExitReason.Debug)
                continue;
            _turns.Waiting = reason == ExitReason.Halt && _turns.Retired == 0 ? _turns.Waiting + 1 : 0;
            if (reason == ExitReason.Debug)
                _onDebugStop();
            return true;
        }

        _turns.Waiting = 0;
        return true;
    }
}
