using Doppel.Machine.Cpu;

namespace Doppel.Engines.Translator;

/// <content>Code that another process has translated for the same machine is translated here before it is needed.</content>
public sealed unsafe partial class TranslationCache
{
    private const int VariantBits = 6;

    /// <summary>Where translated code is, the newest first: a guest-physical address and what it was translated for, each in one word. Any thread.</summary>
    /// <param name="most">At most so many.</param>
    public ulong[] GetPlaces(int most)
    {
        var places = new List<ulong>();
        lock (_gate)
        {
            for (int i = 0; i < Segments; i++)
            {
                List<int> blocks = _segments[(_current + Segments - i) % Segments].Blocks;
                for (int at = blocks.Count - 1; at >= 0 && places.Count < most; at--)
                {
                    CodeBlock block = _blocks[blocks[at]];
                    // What lies in two pages depends on how they are mapped.
                    if (block.Key != 0 && block.OtherPage == CodeBlock.NoPage)
                        places.Add(block.Key & ((1UL << (BlockTable.VariantShift + VariantBits)) - 1));
                }
            }
        }

        return [.. places];
    }

    /// <summary>Translates the code at a place. No vCPU runs; memory may be written meanwhile, which drops what it concerns.</summary>
    /// <param name="cpu">A vCPU of the machine.</param>
    /// <param name="place">One of <see cref="GetPlaces"/>, or any number.</param>
    /// <returns>False when there is no code that could be translated ahead.</returns>
    public bool TryTranslateAhead(VirtualCpu cpu, ulong place)
    {
        ArgumentNullException.ThrowIfNull(cpu);
        ulong physical = place & ((1UL << BlockTable.VariantShift) - 1);
        var variant = (TranslationVariant)(place >> BlockTable.VariantShift);
        if (_isCounted || (ulong)variant >> VariantBits != 0 || (variant & TranslationVariant.Mode) > TranslationVariant.Real || !cpu.Physical.IsPlainMemory(physical))
            return false;
        if (BlockTranslator.MayCross(physical) && CrossesPage(physical, variant))
            return false;
        return Add(cpu, new TranslationStatistics(), physical, variant) != null;
    }
}
