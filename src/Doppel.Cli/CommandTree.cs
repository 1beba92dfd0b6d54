using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Doppel.Cli.Commands;
using Doppel.Cli.Commands.Machines;

namespace Doppel.Cli;

/// <summary>All commands, and how a command line is run.</summary>
internal static class CommandTree
{
    /// <summary>Builds the tree.</summary>
    internal static RootCommand Create()
    {
        var root = new RootCommand("Runs unmodified x86-64 operating systems as an ordinary process: no kernel module, no root.")
        {
            RunCommand.Create(),
            CreateCommand.Create(),
            KeptCommands.CreateStart(),
            KeptCommands.CreateStop(),
            KeptCommands.CreateKill(),
            KeptCommands.CreateRestart(),
            ListCommand.Create(),
            KeptCommands.CreateInspect(),
            LogsCommand.Create(),
            ConsoleCommand.Create(),
            EventsCommand.Create(),
            KeptCommands.CreateRename(),
            KeptCommands.CreateRemove(),
            StatsCommand.Create(),
            LifeCommands.CreatePause(),
            LifeCommands.CreateSuspend(),
            ResumeCommand.Create(),
            SnapshotCommand.Create(),
            CloneCommand.Create(),
            MigrateCommand.Create(),
            LifeCommands.CreateUpdate(),
            BalloonCommand.Create(),
            ScreenCommands.CreateScreenshot(),
            ScreenCommands.CreateType(),
            ScreenCommands.CreateKey(),
            ScreenCommands.CreateMouse(),
            MediumCommands.CreateInsert(),
            MediumCommands.CreateEject(),
            LockstepCommand.Create(),
            CompareCommand.Create(),
            ImageCommand.Create(),
            MachineCommand.Create(),
            SshCommand.Create(),
            SshCommand.CreateCopy(),
            DiskCommand.Create(),
            CpuCommand.Create(),
            CompletionCommand.Create(),
            VersionCommand.Create(),
            OperationsCommand.Create(),
            DaemonCommand.Create(),
            WorkerCommand.Create(),
        };
        foreach (Option option in HostOptions.Create())
            root.Options.Add(option);
        HelpOption help = root.Options.OfType<HelpOption>().First();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    /// <summary>Parses and runs a command line.</summary>
    internal static int Run(IReadOnlyList<string> arguments)
    {
        // The daemon starts workers by the dozen: each needs no more than its own command.
        RootCommand root = arguments is [WorkerCommand.Name, ..] ? [WorkerCommand.Create()] : Create();
        bool isEmpty = arguments.Count == 0;
        ParseResult result = root.Parse(isEmpty ? ["--help"] : arguments);
        if (result.Errors.Count > 0)
        {
            string path = CommandPath(result.CommandResult);
            throw new CliException(ExitCode.Usage, $"{Sentence(result.Errors)}; \"{path} --help\" lists what there is");
        }

        var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        int code = result.Invoke(configuration);
        return isEmpty ? ExitCode.Usage : code;
    }

    private static string Sentence(IReadOnlyList<ParseError> errors)
    {
        // An unknown word also leaves a command incomplete; the word is what the user wants to hear of.
        ParseError error = errors.FirstOrDefault(e => e.Message.Contains('\'', StringComparison.Ordinal)) ?? errors[0];
        return error.Message.ReplaceLineEndings(" ").Replace("\t", "", StringComparison.Ordinal).TrimEnd('.', ' ');
    }

    private static string CommandPath(CommandResult result)
    {
        var names = new List<string>();
        for (SymbolResult? at = result; at is not null; at = at.Parent)
        {
            if (at is CommandResult { Command: not RootCommand } command)
                names.Insert(0, command.Command.Name);
        }

        return string.Join(' ', names.Prepend("doppel"));
    }
}
