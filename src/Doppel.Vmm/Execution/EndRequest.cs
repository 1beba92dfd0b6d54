using Doppel.Machine.Cpu;

namespace Doppel.Vmm.Execution;

/// <summary>Why one boot of a machine ends.</summary>
/// <param name="Kind">The kind of end.</param>
/// <param name="Message">One line for a person.</param>
internal sealed record EndRequest(VmExitKind Kind, string Message)
{
    internal int DebugStatus { get; init; }

    internal CpuLocation? Location { get; init; }

    internal Exception? Error { get; init; }
}
