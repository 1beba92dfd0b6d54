using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;

namespace Doppel.Machine.Trace;

/// <summary>Receives what the machine does. Implementations are safe to call from any thread.</summary>
public interface ITraceSink
{
    /// <summary>True when the engine should report every instruction (it then runs slowly).</summary>
    bool WantsInstructions { get; }

    /// <summary>True when an engine that translates should report every block.</summary>
    bool WantsTranslations { get; }

    /// <summary>Before an instruction executes; <see cref="CpuState.Rip"/> is its address.</summary>
    void Instruction(VirtualCpu cpu);

    /// <summary>An exception is about to be delivered.</summary>
    void Exception(VirtualCpu cpu, ExceptionVector vector, uint errorCode, ulong address);

    /// <summary>An external or software interrupt is about to be delivered.</summary>
    void Interrupt(VirtualCpu cpu, int vector, bool isSoftware);

    /// <summary>A block has been translated; only when <see cref="WantsTranslations"/>.</summary>
    void Translation(VirtualCpu cpu, TranslatedBlock block);

    /// <summary>A port or memory-mapped access has been made.</summary>
    void Io(IoBus bus, string device, ulong address, int size, ulong value, bool isWrite);
}
