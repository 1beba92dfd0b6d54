using System.CommandLine;
using System.Globalization;
using Doppel.Host.Terminals;
using Doppel.Vmm;
using Doppel.Vmm.Lockstep;

namespace Doppel.Cli.Commands;

/// <summary>doppel lockstep.</summary>
internal static class LockstepCommand
{
    internal static Command Create()
    {
        var guest = new RunOptions();
        Option<string> engines = new("--engines") { Description = "The reference and the engine to compare with it.", HelpName = "A,B", DefaultValueFactory = _ => $"{EngineNames.Interpreter},{EngineNames.Translator}" };
        Option<string?> interval = new("--interval") { Description = "Instructions between two comparisons of registers [default: 10000].", HelpName = "N" };
        Option<string?> memoryInterval = new("--memory-interval") { Description = "Instructions between two comparisons of memory and devices [default: 1000000].", HelpName = "N" };
        Option<string?> instructions = new("--instructions") { Description = "Stop after this many instructions [default: at the guest's end].", HelpName = "N" };
        Option<string?> seed = new("--seed") { Description = "Seed of RDRAND and RDSEED [default: 1].", HelpName = "N" };
        Option<string[]> send = new("--send") { Description = "A line for the guest's console, sent at its next prompt; may be repeated.", HelpName = "LINE" };
        Option<string> prompt = new("--prompt") { Description = "What the guest shows when it waits for a line.", HelpName = "TEXT", DefaultValueFactory = _ => "# " };
        var command = new Command("lockstep", "Run a guest on two engines with deterministic time and stop at their first difference.");
        foreach (Option option in guest.Guest.Concat([engines, interval, memoryInterval, instructions, seed, send, prompt]))
            command.Options.Add(option);
        command.SetAction(result =>
        {
            string[] names = result.GetRequiredValue(engines).Split(',');
            if (names.Length != 2 || !names.All(EngineNames.Deterministic.Contains))
                throw new CliException(ExitCode.Usage, $"--engines {result.GetRequiredValue(engines)}: two of {string.Join(", ", EngineNames.Deterministic)}, separated by a comma, would be right");
            string text = result.GetRequiredValue(prompt);
            if (text.Length == 0)
                throw new CliException(ExitCode.Usage, "--prompt \"\": the text of the guest's prompt would be right");
            var options = new LockstepOptions
            {
                Spec = guest.ReadGuest(result),
                Reference = names[0],
                Tested = names[1],
                Interval = Number(result, interval) ?? 10_000,
                MemoryInterval = Number(result, memoryInterval) ?? 1_000_000,
                Instructions = Number(result, instructions),
                Seed = Number(result, seed) ?? 1,
                Input = result.GetValue(send) ?? [],
                Prompt = text,
            };
            return Run(options with { Spec = guest.Complete(result, options.Spec).Spec });
        });
        return command;
    }

    private static int Run(LockstepOptions options)
    {
        using Stream output = StandardStreams.OpenOutput();
        LockstepResult result = new LockstepRun(options with
        {
            Output = data =>
            {
                output.Write(data.Span);
                output.Flush();
            },
            Progress = progress =>
            {
                if (progress.Instructions == 0)
                    Talk.Line($"doppel: the engines differ; {progress.Phase}");
            },
        }).Run();
        if (result.Difference is LockstepDifference difference)
        {
            Talk.Line(string.Create(CultureInfo.InvariantCulture, $"\n{difference}"));
            return ExitCode.Difference;
        }

        Talk.Line(string.Create(CultureInfo.InvariantCulture, $"doppel: no difference in {result.Instructions} instructions; {result.End ?? "the guest has not ended"}"));
        return ExitCode.Success;
    }

    private static ulong? Number(ParseResult result, Option<string?> option)
    {
        if (result.GetValue(option) is not string text)
            return null;
        return ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value) && value != 0
            ? value
            : throw new CliException(ExitCode.Usage, $"{option.Name} {text}: a number of 1 or more would be right");
    }
}
