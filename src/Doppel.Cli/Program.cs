using Doppel.Cli.Commands;

namespace Doppel.Cli;

/// <summary>The doppel command.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        // Answered without the parser, whose loading would cost more than the answer.
        if (arguments is ["version"] or ["--version"])
            return ErrorReport.Guard(VersionCommand.Print);
        return ErrorReport.Guard(() => CommandTree.Run(arguments));
    }
}
