namespace Doppel.Machine.Cpu.Statistics;

/// <summary>
/// What one vCPU and its engine have done since they were made. A count that an engine has no use for stays zero. Taken
/// while the vCPU runs, the numbers are recent ones and not all of the same moment.
/// </summary>
public sealed record EngineStatistics
{
    /// <summary>Guest instructions retired; a repeated string instruction counts once.</summary>
    public ulong Instructions { get; init; }

    /// <summary>Blocks translated to host code; under the interpreter, blocks decoded.</summary>
    public ulong BlocksTranslated { get; init; }

    /// <summary>Guest instructions in those blocks.</summary>
    public ulong InstructionsTranslated { get; init; }

    /// <summary>Host time spent on translation, in seconds.</summary>
    public double TranslationSeconds { get; init; }

    /// <summary>Pieces of code that were translated, or translated better, because they turned out to be hot.</summary>
    public ulong BlocksPromoted { get; init; }

    /// <summary>Branches that were made to lead straight to their target.</summary>
    public ulong BranchesChained { get; init; }

    /// <summary>Blocks dropped to make room.</summary>
    public ulong BlocksEvicted { get; init; }

    /// <summary>Pages of code dropped because their bytes were overwritten.</summary>
    public ulong PagesOverwritten { get; init; }

    /// <summary>Entries into translated code.</summary>
    public ulong Entries { get; init; }

    /// <summary>Accesses that missed the first look-up of the software TLB and found their translation cached all the same.</summary>
    public ulong TlbSlowHits { get; init; }

    /// <summary>Accesses whose translation had to be read from the guest's page tables.</summary>
    public ulong TlbMisses { get; init; }

    /// <summary>Flushes of an address space or of everything.</summary>
    public ulong TlbFlushes { get; init; }

    /// <summary>External interrupts delivered, NMIs included.</summary>
    public ulong Interrupts { get; init; }

    /// <summary>Exceptions delivered.</summary>
    public ulong Exceptions { get; init; }

    /// <summary>Times that the vCPU waited for a signal, halted or for its start-up.</summary>
    public ulong Halts { get; init; }

    /// <summary>Host time spent in those waits, in seconds; one that lasts is counted when it ends.</summary>
    public double HaltedSeconds { get; init; }

    /// <summary>Why translated code was left, in an order of the engine's; empty for an engine that never leaves it.</summary>
    public IReadOnlyList<ExitStatistics> Exits { get; init; } = [];

    /// <summary>The counts that belong to the vCPU rather than to its engine, as numbers that make nothing of them when they are added (modulo 2^64).</summary>
    public EngineStatistics NegateVcpu() => new()
    {
        Instructions = 0 - Instructions,
        TlbSlowHits = 0 - TlbSlowHits,
        TlbMisses = 0 - TlbMisses,
        TlbFlushes = 0 - TlbFlushes,
        Interrupts = 0 - Interrupts,
        Exceptions = 0 - Exceptions,
        Halts = 0 - Halts,
        HaltedSeconds = -HaltedSeconds,
    };

    /// <summary>Adds the numbers of two vCPUs, or of one vCPU over two boots; exits are added by reason.</summary>
    public static EngineStatistics operator +(EngineStatistics left, EngineStatistics right) => Add(left, right);

    /// <summary>The operator by its name.</summary>
    public static EngineStatistics Add(EngineStatistics left, EngineStatistics right)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        return new EngineStatistics
        {
            Instructions = left.Instructions + right.Instructions,
            BlocksTranslated = left.BlocksTranslated + right.BlocksTranslated,
            InstructionsTranslated = left.InstructionsTranslated + right.InstructionsTranslated,
            TranslationSeconds = left.TranslationSeconds + right.TranslationSeconds,
            BlocksPromoted = left.BlocksPromoted + right.BlocksPromoted,
            BranchesChained = left.BranchesChained + right.BranchesChained,
            BlocksEvicted = left.BlocksEvicted + right.BlocksEvicted,
            PagesOverwritten = left.PagesOverwritten + right.PagesOverwritten,
            Entries = left.Entries + right.Entries,
            TlbSlowHits = left.TlbSlowHits + right.TlbSlowHits,
            TlbMisses = left.TlbMisses + right.TlbMisses,
            TlbFlushes = left.TlbFlushes + right.TlbFlushes,
            Interrupts = left.Interrupts + right.Interrupts,
            Exceptions = left.Exceptions + right.Exceptions,
            Halts = left.Halts + right.Halts,
            HaltedSeconds = left.HaltedSeconds + right.HaltedSeconds,
            Exits =
            [
                .. left.Exits.Concat(right.Exits).GroupBy(exit => exit.Reason)
                    .Select(same => new ExitStatistics(same.Key, same.Aggregate(0UL, (sum, exit) => sum + exit.Count), same.Sum(exit => exit.Seconds))),
            ],
        };
    }
}
