using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Doppel.Cli;

/// <summary>A command whose help ends with examples.</summary>
/// <param name="name">Its name.</param>
/// <param name="description">In a few words.</param>
/// <param name="examples">Whole command lines.</param>
internal sealed class ExampledCommand(string name, string description, params string[] examples) : Command(name, description)
{
    internal IReadOnlyList<string> Examples { get; } = examples;
}

/// <summary>The help, and a command's examples after it.</summary>
/// <param name="help">The help without them.</param>
internal sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
{
    /// <summary>Help is given although the command line lacks an argument.</summary>
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        int code = help.Invoke(parseResult);
        if (parseResult.CommandResult.Command is ExampledCommand { Examples.Count: > 0 } command)
            parseResult.InvocationConfiguration.Output.Write($"Examples:\n{string.Concat(command.Examples.Select(e => $"  {e}\n"))}\n");
        return code;
    }
}
