namespace Doppel.Engines.Translator;

/// <summary>
/// Counts how often code was looked for that is not translated: what runs once or twice, as most of a booting kernel does,
/// is interpreted in less time than its translation takes. Counters are shared by addresses of one hash and never go
/// down, so that code is at worst translated early.
/// </summary>
internal sealed class BlockHeat
{
    /// <summary>Executions in the interpreter before a block is translated, 0 to 255.</summary>
    internal int Threshold { get; set; } = 16;

    private readonly byte[] _counts = new byte[1 << 18];

    /// <summary>Counts an execution; true while the block is cold.</summary>
    internal bool IsCold(ulong physical)
    {
        ref byte count = ref _counts[(physical ^ (physical >> 18)) & (ulong)(_counts.Length - 1)];
        if (count >= Threshold)
            return false;
        count++;
        return true;
    }
}
