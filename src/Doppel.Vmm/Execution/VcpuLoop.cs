using Doppel.Machine.Cpu;
using Doppel.Machine.Time;

namespace Doppel.Vmm.Execution;

/// <summary>Runs one vCPU through its engine until the machine ends. Belongs to the vCPU's thread.</summary>
internal sealed class VcpuLoop(PcMachine machine, VirtualCpu cpu, IExecutionEngine engine, RunGate gate, Action onDebugStop)
{
    private ulong _accounted;

    /// <summary>Runs until <see cref="PcMachine.EndReason"/> is set.</summary>
    internal void Run()
    {
        gate.Enter(IsHeld, IsOver);
        try
        {
            if (machine.Clock is InstructionClock clock)
                RunDeterministic(clock);
            else
                RunFree();
        }
        catch (Exception e)
        {
            CpuLocation location = cpu.GetLocation();
            machine.End(new EndRequest(VmExitKind.InternalError, $"the {engine.Name} failed at {location}: {e.Message}") { Error = e, Location = location });
        }
        finally
        {
            gate.Leave();
        }
    }

    private void RunFree()
    {
        while (machine.EndReason is null)
        {
            gate.Pass(IsHeld, IsOver);
            ExitReason reason = engine.Run(ulong.MaxValue);
            if (reason == ExitReason.Halt)
                cpu.WaitForSignal(CancellationToken.None);
            else if (reason == ExitReason.Shutdown)
                EndByTripleFault();
            else if (reason == ExitReason.Debug)
                onDebugStop();
        }
    }

    private void RunDeterministic(InstructionClock clock)
    {
        _accounted = cpu.GetInstructionsRetired();
        clock.InFlight = () => cpu.GetInstructionsRetired() + cpu.InstructionsInFlight - _accounted;
        clock.DeadlineMoved = () => cpu.Signal(PendingEvents.Kick);
        while (machine.EndReason is null)
        {
            gate.Pass(IsHeld, IsOver);
            ulong budget = clock.InstructionsUntilNextDeadline;
            if (budget != 0)
            {
                ExitReason reason = engine.Run(budget);
                ulong retired = cpu.GetInstructionsRetired() - _accounted;
                _accounted += retired;
                clock.Advance(retired);
                if (reason == ExitReason.Shutdown)
                    EndByTripleFault();
                else if (reason == ExitReason.Debug)
                    onDebugStop();
                else if (reason == ExitReason.Halt && machine.EndReason is null && !gate.IsClosing && !clock.SkipToNextDeadline())
                    cpu.WaitForSignal(CancellationToken.None);
            }

            _ = clock.RunDue();
        }
    }

    private bool IsHeld() => cpu.Debug is { IsHeld: true };

    private bool IsOver() => machine.EndReason is not null;

    private void EndByTripleFault()
    {
        CpuLocation location = cpu.GetLocation();
        machine.End(new EndRequest(VmExitKind.TripleFault, $"the guest's processor shut down after a triple fault: {location}") { Location = location });
    }
}
