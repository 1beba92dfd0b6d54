using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;

namespace Doppel.Vmm.Execution;

/// <summary>Makes engines by the names of <see cref="EngineNames"/>.</summary>
internal static class EngineFactory
{
    internal static IExecutionEngine Create(string name, VirtualCpu cpu) =>
        name == EngineNames.Translator ? new TranslatorEngine(cpu) : new Interpreter(cpu);
}
