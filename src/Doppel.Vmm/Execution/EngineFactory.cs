using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;

namespace Doppel.Vmm.Execution;

/// <summary>Makes the engines of one machine's vCPUs, which share what is translated. Outlives them.</summary>
internal sealed class EngineFactory : IDisposable
{
    private readonly ulong _codeBytes;
    private TranslationCache? _cache;

    /// <summary>Creates a factory.</summary>
    /// <param name="codeBytes">Host memory for translated code, or for each vCPU's decoded instructions (<see cref="MachineSpec.CodeCache"/>).</param>
    internal EngineFactory(ulong codeBytes) => _codeBytes = codeBytes;

    /// <summary>Makes an engine by one of <see cref="EngineNames"/>.</summary>
    internal IExecutionEngine Create(string name, VirtualCpu cpu) => name == EngineNames.Translator
        ? new TranslatorEngine(cpu, _cache ??= new TranslationCache(cpu, _codeBytes))
        : new Interpreter(cpu, _codeBytes);

    public void Dispose() => _cache?.Dispose();
}
