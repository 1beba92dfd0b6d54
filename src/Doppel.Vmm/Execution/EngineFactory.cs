using Doppel.Engines.Kvm;
using Doppel.Engines.Translator;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Interpreter;

namespace Doppel.Vmm.Execution;

/// <summary>Makes the engines of one machine's vCPUs, which share what is translated, or the kernel's VM. Outlives them.</summary>
internal sealed class EngineFactory : IDisposable
{
    private readonly ulong _codeBytes;
    private readonly string _kvmPath;
    private TranslationCache? _cache;
    private KvmMachine? _kvm;

    /// <summary>Creates a factory.</summary>
    /// <param name="codeBytes">Host memory for translated code, or for each vCPU's decoded instructions (<see cref="MachineSpec.CodeCache"/>).</param>
    /// <param name="kvmPath">KVM's device.</param>
    internal EngineFactory(ulong codeBytes, string kvmPath = KvmDevice.DefaultPath)
    {
        _codeBytes = codeBytes;
        _kvmPath = kvmPath;
    }

    /// <summary>Makes an engine by one of <see cref="EngineNames"/>.</summary>
    /// <exception cref="KvmException">KVM can't run the machine here.</exception>
    internal IExecutionEngine Create(string name, VirtualCpu cpu) => name switch
    {
        EngineNames.Translator => new TranslatorEngine(cpu, _cache ??= new TranslationCache(cpu, _codeBytes)),
        EngineNames.Kvm => new KvmEngine(cpu, _kvm ??= new KvmMachine(cpu, _kvmPath)),
        _ => new Interpreter(cpu, _codeBytes),
    };

    /// <summary>Makes what the engines of a name will share, while the machine may still run on others.</summary>
    /// <exception cref="KvmException">KVM can't run the machine here.</exception>
    internal void Prepare(string name, VirtualCpu cpu)
    {
        if (name == EngineNames.Kvm)
            _kvm ??= new KvmMachine(cpu, _kvmPath);
        else if (name == EngineNames.Translator)
            _cache ??= new TranslationCache(cpu, _codeBytes);
    }

    /// <summary>Where code has been translated, the newest first; none under other engines.</summary>
    internal ulong[] GetTranslatedPlaces(int most) => _cache?.GetPlaces(most) ?? [];

    /// <summary>Translates code ahead, as <see cref="TranslationCache.TryTranslateAhead"/> says; after <see cref="Prepare"/>.</summary>
    internal void TranslateAhead(VirtualCpu cpu, ReadOnlySpan<ulong> places)
    {
        foreach (ulong place in places)
            _ = _cache?.TryTranslateAhead(cpu, place);
    }

    /// <summary>How much memory KVM shows to the guest now; null under other engines, or when its kernel doesn't count.</summary>
    internal KvmMappedPages? MappedPages => _kvm?.MappedPages;

    /// <summary>Whether KVM has the machine's local APICs; null under other engines.</summary>
    internal bool? HasKernelApics => _kvm?.HasLocalApics;

    public void Dispose()
    {
        _cache?.Dispose();
        _kvm?.Dispose();
    }
}
