using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;
using Doppel.Machine.Cpu.Statistics;

namespace Doppel.Vmm.Tests.Lockstep;

/// <summary>An engine that is right but for one thing that it does after a given number of instructions.</summary>
internal sealed class CorruptingEngine(VirtualCpu cpu, ulong after, Action<VirtualCpu> corrupt) : IExecutionEngine
{
    private readonly Interpreter _inner = new(cpu);
    private bool _isDone;

    public string Name => "corrupting";

    public ExitReason Run(ulong maximumInstructions)
    {
        ulong retired = cpu.GetInstructionsRetired();
        if (_isDone || retired + maximumInstructions < after)
            return _inner.Run(maximumInstructions);
        ExitReason reason = _inner.Run(after - retired);
        if (cpu.GetInstructionsRetired() != after)
            return reason;
        _isDone = true;
        corrupt(cpu);
        return reason != ExitReason.Budget || retired + maximumInstructions == after ? reason : _inner.Run(retired + maximumInstructions - after);
    }

    public EngineStatistics GetStatistics() => _inner.GetStatistics();

    public void Dispose() => _inner.Dispose();
}
