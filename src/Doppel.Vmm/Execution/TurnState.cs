using Doppel.Machine.State;

namespace Doppel.Vmm.Execution;

/// <summary>Whose turn it is in <see cref="RoundRobinLoop"/>: part of what makes a machine on deterministic time repeatable. One thread at a time.</summary>
/// <param name="cpus">Number of vCPUs.</param>
internal sealed class TurnState(int cpus) : IStateful
{
    public string SectionName => "turns";

    public int SectionVersion => 1;

    /// <summary>The vCPU whose turn it is.</summary>
    internal int Index { get; set; }

    /// <summary>Instructions that it has retired in this turn.</summary>
    internal ulong Retired { get; set; }

    /// <summary>How many vCPUs have had nothing to do in a row.</summary>
    internal int Waiting { get; set; }

    public void Save(StateWriter writer)
    {
        writer.Write(Index);
        writer.Write(Retired);
        writer.Write(Waiting);
    }

    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"{SectionName}: version {version} is unknown; {SectionVersion} is expected");
        int index = reader.ReadInt32();
        ulong retired = reader.ReadUInt64();
        int waiting = reader.ReadInt32();
        if (index < 0 || index >= cpus || waiting < 0 || waiting > cpus)
            throw new InvalidDataException($"{SectionName}: vCPU {index} with {waiting} waiting; there are {cpus}");
        (Index, Retired, Waiting) = (index, retired, waiting);
    }
}
