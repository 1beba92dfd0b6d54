using Doppel.Machine.Cpu;

namespace Doppel.Vmm.Execution;

/// <summary>Runs one vCPU through its engine on the host's time until the machine ends. Belongs to the vCPU's thread.</summary>
internal sealed class VcpuLoop(PcMachine machine, VirtualCpu cpu, IExecutionEngine engine, RunGate gate, Action onDebugStop)
{
    /// <summary>Runs until <see cref="PcMachine.IsOver"/>.</summary>
    internal void Run()
    {
        gate.Enter(IsHeld, IsOver);
        try
        {
            while (!IsOver())
            {
                gate.Pass(IsHeld, IsOver, engine.Settle);
                if (IsOver())
                    break;
                cpu.EnterGuest();
                ExitReason reason;
                try
                {
                    reason = engine.Run(ulong.MaxValue);
                }
                finally
                {
                    cpu.LeaveGuest();
                }

                if (reason == ExitReason.Halt)
                    cpu.WaitForSignal(CancellationToken.None);
                else if (reason == ExitReason.Shutdown)
                    machine.EndByTripleFault(cpu);
                else if (reason == ExitReason.Debug)
                    onDebugStop();
            }

            engine.Settle();
        }
        catch (Exception e)
        {
            machine.EndByEngineFailure(cpu, engine, e);
        }
        finally
        {
            gate.Leave();
        }
    }

    private bool IsHeld() => cpu.Debug is { IsHeld: true };

    private bool IsOver() => machine.IsOver;
}
