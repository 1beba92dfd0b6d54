using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Machine.Cpu;

/// <summary>
/// A way to execute instructions. One instance serves one vCPU; shared parts (code caches) are its own affair.
/// </summary>
public interface IExecutionEngine : IDisposable
{
    /// <summary>The name that a user gives, for example "interpreter".</summary>
    string Name { get; }

    /// <summary>
    /// Executes until something concerns the VM's loop. The architectural state in <see cref="CpuState"/> is whole
    /// when it returns, or (for an engine that keeps registers elsewhere) after <see cref="Settle"/>. Called on the vCPU's thread.
    /// </summary>
    /// <param name="maximumInstructions">Return with <see cref="ExitReason.Budget"/> after exactly this many instructions have retired.</param>
    ExitReason Run(ulong maximumInstructions);

    /// <summary>
    /// Makes the state in <see cref="CpuState"/> whole and lets others change it. The vCPU's thread, between two calls of
    /// <see cref="Run"/>: before the vCPU stands still for a debugger, a snapshot, another engine.
    /// </summary>
    void Settle()
    {
    }

    /// <summary>What the engine and its vCPU have done so far. Any thread, also while the engine runs.</summary>
    EngineStatistics GetStatistics();
}

/// <summary>Why <see cref="IExecutionEngine.Run"/> returned.</summary>
public enum ExitReason
{
    /// <summary>HLT (or MWAIT) with nothing pending: wait for a signal.</summary>
    Halt,

    /// <summary>A triple fault.</summary>
    Shutdown,

    /// <summary><see cref="PendingEvents.Kick"/> was set (the engine clears it).</summary>
    Kick,

    /// <summary>A breakpoint or single step of the debugger.</summary>
    Debug,

    /// <summary>The instruction budget is used up.</summary>
    Budget,
}
