using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Vmm.Debugging;

/// <summary>A machine as a debugger's protocol sees it. Registers, memory and breakpoints want it to stand still.</summary>
public interface IDebugTarget
{
    /// <summary>Number of vCPUs.</summary>
    int CpuCount { get; }

    /// <summary>True when the CPU model has AVX, and with it the upper halves of the YMM registers.</summary>
    bool HasAvx { get; }

    /// <summary>While stepping, deliver interrupts too.</summary>
    bool StepsIntoInterrupts { get; set; }

    /// <summary>Called, on any thread, when a vCPU stops for the debugger (<see cref="TakeStop"/> says why) or the machine ends.</summary>
    event Action? Changed;

    /// <summary>True when the machine is over: nothing can be read any more.</summary>
    bool HasEnded { get; }

    /// <summary>True while a stop waits to be taken.</summary>
    bool HasStop { get; }

    /// <summary>Stops all vCPUs and the guest's time; completes when they stand still.</summary>
    Task StopAsync();

    /// <summary>Why the machine has stopped; each stop is reported once. Null when no vCPU stopped by itself.</summary>
    DebugStop? TakeStop();

    /// <summary>Lets vCPUs go on. When a stop waits to be taken, nothing moves.</summary>
    /// <param name="actions">What each vCPU does, by its index.</param>
    void Resume(IReadOnlyList<CpuAction> actions);

    /// <summary>Removes all breakpoints and lets the machine go on without a debugger.</summary>
    void Detach();

    /// <summary>Ends the machine.</summary>
    void Kill();

    /// <summary>Resets the machine; it stands still before the first instruction of the next boot.</summary>
    Task ResetAsync();

    /// <summary>Copies a register's value, little-endian.</summary>
    void ReadRegister(int cpu, CpuRegister register, Span<byte> destination);

    /// <summary>Writes a register; false when the processor can't hold the value.</summary>
    bool TryWriteRegister(int cpu, CpuRegister register, ReadOnlySpan<byte> source);

    /// <summary>Reads memory; returns how many bytes could be read.</summary>
    int ReadMemory(int cpu, ulong address, Span<byte> destination, bool isPhysical);

    /// <summary>Writes RAM; returns how many bytes could be written.</summary>
    int WriteMemory(int cpu, ulong address, ReadOnlySpan<byte> source, bool isPhysical);

    /// <summary>The guest-physical address of a linear one; null when it is not mapped.</summary>
    ulong? Translate(int cpu, ulong address);

    /// <summary>Adds a breakpoint; nothing happens when it is there.</summary>
    void Add(Breakpoint breakpoint);

    /// <summary>Removes a breakpoint; nothing happens when it isn't there.</summary>
    void Remove(Breakpoint breakpoint);

    /// <summary>One line about a vCPU: where it is, in which mode.</summary>
    string Describe(int cpu);
}
