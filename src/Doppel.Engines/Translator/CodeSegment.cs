using Doppel.Machine.Cpu;

namespace Doppel.Engines.Translator;

/// <summary>A part of the code cache, filled from its start and dropped as a whole.</summary>
internal sealed unsafe class CodeSegment
{
    /// <summary>Creates an empty segment.</summary>
    /// <param name="start">First byte, in the writable mapping.</param>
    /// <param name="end">Behind its last byte.</param>
    /// <param name="firstExit">The first number that its exits may have.</param>
    internal CodeSegment(byte* start, byte* end, int firstExit)
    {
        Start = Position = start;
        End = end;
        FirstExit = firstExit;
    }

    /// <summary>First byte, in the writable mapping.</summary>
    internal byte* Start { get; }

    /// <summary>Behind its last byte.</summary>
    internal byte* End { get; }

    /// <summary>Where the next block goes.</summary>
    internal byte* Position { get; set; }

    /// <summary>The first number that its exits may have.</summary>
    internal int FirstExit { get; }

    /// <summary>Numbers of its blocks in the order of their code, dropped ones included.</summary>
    internal List<int> Blocks { get; } = [];

    /// <summary>The vCPUs that may still be in its dropped code (<see cref="VcpuRendezvous"/>); null when none is.</summary>
    internal (VirtualCpu Cpu, long SafePoints)[]? Leaving { get; set; }

    /// <summary>Whether another block fits.</summary>
    internal bool HasRoom => End - Position >= BlockTranslator.MaximumBytes;
}
