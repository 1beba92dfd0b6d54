using System.Globalization;
using System.Text;
using Doppel.Engines.Kvm;
using Doppel.Machine.Cpu.Statistics;
using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>Statistics of a machine as text.</summary>
internal static class StatisticsText
{
    private static readonly string[] ExitHead = ["exits", "count", "seconds", "ns each"];
    private static readonly (string Name, Func<EngineStatistics, string> Value)[] Rows =
    [
        ("instructions", s => Count(s.Instructions)),
        ("blocks translated", s => Count(s.BlocksTranslated)),
        ("instructions translated", s => Count(s.InstructionsTranslated)),
        ("translation, seconds", s => Seconds(s.TranslationSeconds)),
        ("blocks promoted", s => Count(s.BlocksPromoted)),
        ("branches chained", s => Count(s.BranchesChained)),
        ("blocks evicted", s => Count(s.BlocksEvicted)),
        ("code pages overwritten", s => Count(s.PagesOverwritten)),
        ("TLB slow hits", s => Count(s.TlbSlowHits)),
        ("TLB misses", s => Count(s.TlbMisses)),
        ("TLB flushes", s => Count(s.TlbFlushes)),
        ("interrupts", s => Count(s.Interrupts)),
        ("exceptions", s => Count(s.Exceptions)),
        ("halts", s => Count(s.Halts)),
        ("halted, seconds", s => Seconds(s.HaltedSeconds)),
        ("entries", s => Count(s.Entries)),
    ];

    /// <summary>One line: instructions, time, speed; under KVM, which counts no instructions, exits and page tables.</summary>
    internal static string Summary(MachineStatistics statistics) => statistics.Engine == EngineNames.Kvm
        ? string.Create(CultureInfo.InvariantCulture, $"{statistics.Total.Exits.Aggregate(0UL, (sum, exit) => sum + exit.Count)} exits in {statistics.Seconds:0.000} s, {statistics.NestedPaging ?? "page tables unknown"}{Mapped(statistics.MappedPages)}{(statistics.HasKernelApics is bool isKernels ? $", local APICs in {(isKernels ? "the kernel" : "this process")}" : "")}")
        : string.Create(CultureInfo.InvariantCulture, $"{statistics.Total.Instructions} guest instructions in {statistics.Seconds:0.000} s: {statistics.InstructionsPerSecond / 1e6:0.0} million a second");

    /// <summary>A column for the machine and, with several vCPUs, one for each; then the exits by reason. Without a line end at the end.</summary>
    internal static string Table(MachineStatistics statistics)
    {
        var table = new List<string[]>();
        List<EngineStatistics> columns = [statistics.Total];
        List<string> head = ["", "machine"];
        if (statistics.Cpus.Count > 1)
        {
            columns.AddRange(statistics.Cpus);
            head.AddRange(statistics.Cpus.Select((_, i) => $"vCPU {i}"));
        }

        table.Add([.. head]);
        foreach ((string name, Func<EngineStatistics, string> value) in Rows)
            table.Add([name, .. columns.Select(value)]);
        string text = Align(table);
        if (statistics.Total.Exits.Count == 0)
            return text;
        List<string[]> exits = [ExitHead];
        foreach (ExitStatistics exit in statistics.Total.Exits)
            exits.Add([exit.Reason, Count(exit.Count), Seconds(exit.Seconds), exit.Count == 0 ? "-" : Count((ulong)(exit.Seconds * 1e9 / exit.Count))]);
        return $"{text}\n\n{Align(exits)}";
    }

    private static string Mapped(KvmMappedPages? pages) => pages is null
        ? ""
        : string.Create(CultureInfo.InvariantCulture, $" with {pages.Of4KiB} pages of 4 KiB, {pages.Of2MiB} of 2 MiB, {pages.Of1GiB} of 1 GiB");

    private static string Align(List<string[]> rows)
    {
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(c => rows.Max(r => r[c].Length))];
        var text = new StringBuilder();
        foreach (string[] row in rows)
        {
            string line = string.Join("  ", row.Select((cell, c) => c == 0 ? cell.PadRight(widths[c]) : cell.PadLeft(widths[c])));
            text.Append(text.Length == 0 ? "" : "\n").Append(line);
        }

        return text.ToString();
    }

    private static string Count(ulong value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Seconds(double value) => value.ToString("0.000", CultureInfo.InvariantCulture);
}
