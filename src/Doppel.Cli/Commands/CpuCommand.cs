using System.CommandLine;
using System.Text.Json;
using Doppel.Machine.Cpu.Models;

namespace Doppel.Cli.Commands;

/// <summary>doppel cpu ls, show.</summary>
internal static class CpuCommand
{
    internal static Command Create() => new("cpu", "List and show CPU models.") { CreateList(), CreateShow() };

    private static Command CreateList()
    {
        Option<bool> json = JsonOption();
        var command = new Command("ls", "List the CPU models.") { json };
        command.SetAction(result =>
        {
            CpuModelSummary[] models = [.. CpuModels.All.Select(m => new CpuModelSummary(m.Name, RunsHere(m), m.Description))];
            if (result.GetValue(json))
                Console.Out.Write(JsonSerializer.Serialize(models, CpuJson.Default.CpuModelSummaryArray) + "\n");
            else
                Table.Write(["NAME", "RUNS HERE", "DESCRIPTION"], models.Select(m => (string[])[m.Name, m.RunsHere ? "yes" : "no", m.Description]));
            return ExitCode.Success;
        });
        return command;
    }

    private static Command CreateShow()
    {
        Option<bool> json = JsonOption();
        var name = new Argument<string>("model") { Description = "Name of the model.", HelpName = "model" };
        name.CompletionSources.Add(_ => CpuModels.All.Select(m => m.Name));
        var command = new Command("show", "Show the features of a CPU model.") { name, json };
        command.SetAction(result =>
        {
            CpuModel model = Find(result.GetRequiredValue(name));
            CpuFeatureInfo[] features = [.. model.Features.Select(CpuFeatureCatalog.Of)];
            if (result.GetValue(json))
            {
                var detail = new CpuModelDetail(model.Name, model.Description, RunsHere(model), model.Signature, model.PhysicalAddressBits, [.. features.Select(f => f.Name)]);
                Console.Out.Write(JsonSerializer.Serialize(detail, CpuJson.Default.CpuModelDetail) + "\n");
                return ExitCode.Success;
            }

            Console.Out.Write($"{model.Name}: {model.Description}\n{model.BrandString}, signature 0x{model.Signature:x}, {model.PhysicalAddressBits} physical address bits\n\n");
            Table.Write(["FEATURE", "CPUID", "DESCRIPTION"], features.Select(f => (string[])[f.Name, $"{f.Leaf:X}h.{f.Subleaf}:{f.Register.ToString().ToUpperInvariant()}[{f.Bit}]", f.Description]));
            return ExitCode.Success;
        });
        return command;
    }

    private static CpuModel Find(string name)
    {
        try
        {
            return CpuModels.Find(name);
        }
        catch (CpuModelException e)
        {
            throw new CliException(ExitCode.Usage, e.Message, e);
        }
    }

    private static bool RunsHere(CpuModel model)
    {
        try
        {
            CpuModels.EnsureSupported(model);
            return true;
        }
        catch (CpuModelException)
        {
            return false;
        }
    }

    private static Option<bool> JsonOption() => new("--json") { Description = "Print JSON." };
}
