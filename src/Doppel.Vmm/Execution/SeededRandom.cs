using Doppel.Machine.State;

namespace Doppel.Vmm.Execution;

/// <summary>Numbers that follow from a seed (SplitMix64, Steele, Lea and Flood 2014). One thread.</summary>
/// <param name="name">Name of the saved section.</param>
/// <param name="seed">The seed.</param>
internal sealed class SeededRandom(string name, ulong seed) : IStateful
{
    private ulong _state = seed;

    public string SectionName => name;

    public int SectionVersion => 1;

    public void Save(StateWriter writer) => writer.Write(_state);

    public void Restore(StateReader reader, int version)
    {
        if (version != SectionVersion)
            throw new InvalidDataException($"{name}: version {version} is unknown; {SectionVersion} is expected");
        _state = reader.ReadUInt64();
    }

    internal ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        ulong z = (_state ^ (_state >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
