using Doppel.Machine.Cpu;

namespace Doppel.Vmm.Execution;

/// <summary>Runs one vCPU through its engine on the host's time until the machine ends. Belongs to the vCPU's thread.</summary>
internal sealed class VcpuLoop(PcMachine machine, VirtualCpu cpu, IExecutionEngine engine, RunGate gate)
{
    /// <summary>Runs until <see cref="PcMachine.EndReason"/> is set.</summary>
    internal void Run()
    {
        gate.Enter();
        try
        {
            while (machine.EndReason is null)
            {
                gate.Pass();
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
            }
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
}
