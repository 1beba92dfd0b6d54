namespace Doppel.Vmm.Execution;

/// <summary>Numbers that follow from a seed (SplitMix64, Steele, Lea and Flood 2014). One thread.</summary>
internal sealed class SeededRandom(ulong seed)
{
    private ulong _state = seed;

    internal ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        ulong z = (_state ^ (_state >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
