using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Doppel.Vmm;
using Doppel.Vmm.Comparison;

namespace Doppel.Cli.Commands;

/// <summary>doppel compare.</summary>
internal static class CompareCommand
{
    internal static Command Create()
    {
        var guest = new RunOptions();
        Option<string?> engines = new("--engines") { Description = "Engines, separated by commas [default: all].", HelpName = "NAMES" };
        Option<bool> json = new("--json") { Description = "Print JSON." };
        var command = new ExampledCommand(
            "compare",
            "Measure what operations of an operating system, and a guest that ends by itself, cost under each engine.",
            "doppel compare",
            "doppel compare --engines translator,kvm --json",
            "doppel compare --kernel vmlinuz --initrd initrd.img --append \"console=ttyS0 panic=-1 rdinit=/bin/true\"");
        foreach (Option option in guest.Guest.Concat([engines, json]))
            command.Options.Add(option);
        command.SetAction(async (result, _) =>
        {
            MachineSpec? spec = null;
            if (guest.HasKernel(result))
                spec = guest.Complete(result, guest.ReadGuest(result)).Spec with { RebootOnReset = false };
            string[] names = result.GetValue(engines)?.Split(',') ?? [.. EngineNames.All];
            if (names.FirstOrDefault(name => !EngineNames.All.Contains(name)) is string unknown)
                throw new CliException(ExitCode.Usage, $"--engines {unknown}: some of {string.Join(", ", EngineNames.All)}, separated by commas, would be right");
            var results = new List<EngineResult>();
            foreach (string name in names)
            {
                Talk.Line($"doppel: {name} ...");
                results.Add(await EngineComparison.RunAsync(name, spec).ConfigureAwait(false));
            }

            if (result.GetValue(json))
                Console.Out.WriteLine(JsonSerializer.Serialize([.. results], CompareJson.Default.EngineResultArray));
            else
                Show(results);
            return ExitCode.Success;
        });
        return command;
    }

    private static void Show(List<EngineResult> results)
    {
        List<EngineResult> able = [.. results.Where(result => result.Obstacle is null)];
        if (able.Count != 0)
        {
            var rows = new List<string[]>
            {
                Row("technique", able.Select(result => result.Technique)),
                Row("guest changes needed", able.Select(result => result.GuestChanges)),
            };
            foreach (Nanobenchmark benchmark in Enum.GetValues<Nanobenchmark>())
                rows.Add([NameOf(benchmark), .. able.Select(result => OperationText(result.Operations[(int)benchmark]))]);
            if (able[0].Guest is not null)
            {
                rows.Add(["guest, seconds", .. able.Select(result => result.Guest!.Seconds.ToString("0.000", CultureInfo.InvariantCulture))]);
                rows.Add(["guest, exits", .. able.Select(result => result.Guest!.Exits.ToString(CultureInfo.InvariantCulture))]);
                rows.Add(["guest, instructions translated", .. able.Select(result => result.Guest!.InstructionsTranslated.ToString(CultureInfo.InvariantCulture))]);
                rows.Add(["guest's end", .. able.Select(result => result.Guest!.End.ToString())]);
            }

            Table.Write(["NS EACH (EXITS, TRANSLATED)", .. able.Select(result => result.Engine.ToUpperInvariant())], rows);
        }

        foreach (EngineResult result in results.Where(result => result.Obstacle is not null))
            Talk.Line($"doppel: {result.Obstacle}");
    }

    private static string[] Row(string name, IEnumerable<string> cells) => [name, .. cells];

    private static string OperationText(OperationResult operation) => string.Create(
        CultureInfo.InvariantCulture,
        $"{operation.Nanoseconds:0.0} ({operation.Exits:0.##}, {operation.InstructionsTranslated})");

    private static string NameOf(Nanobenchmark benchmark) => benchmark switch
    {
        Nanobenchmark.Loop => "empty loop",
        Nanobenchmark.Syscall => "syscall",
        Nanobenchmark.In => "in",
        Nanobenchmark.Cr8Write => "CR8 write",
        Nanobenchmark.CallReturn => "call/ret",
        Nanobenchmark.PageFault => "page fault",
        Nanobenchmark.DivideByZero => "divide by zero",
        _ => "page-table modification",
    };
}

/// <summary>JSON of comparisons, without reflection.</summary>
[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(EngineResult[]))]
internal sealed partial class CompareJson : JsonSerializerContext;
