using System.CommandLine;
using Doppel.Vmm.Limits;

namespace Doppel.Cli.Commands;

/// <summary>The options of doppel run about what a machine may have of the host's processors.</summary>
internal sealed class CpuOptions
{
    /// <summary>What a weight is.</summary>
    internal const string WeightDescription = "What it gets of the host's processors where other machines in the background want them, in proportion to their weights: 1 to 10000, 100 unless it is said";

    /// <summary>What a cap is.</summary>
    internal const string CapDescription = "Processors of the host that it may use at most, for example 0.5";

    private readonly Option<double?> _cap = new("--cpu-cap") { Description = $"{CapDescription} [default: all].", HelpName = "CPUS" };
    private readonly Option<int?> _weight = new("--cpu-weight") { Description = $"{WeightDescription}.", HelpName = "N" };

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All => [_cap, _weight];

    /// <summary>The weight; the default one where a command does not offer the option.</summary>
    internal int Weight(ParseResult result) => result.GetValue(_weight) ?? CpuLimits.DefaultWeight;

    /// <summary>The cap; null for none.</summary>
    internal double? Cap(ParseResult result) => result.GetValue(_cap);
}
