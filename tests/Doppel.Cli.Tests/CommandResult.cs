namespace Doppel.Cli.Tests;

internal sealed record CommandResult(int ExitCode, string Output, string Errors)
{
    /// <summary>The only line on standard error.</summary>
    internal string ErrorLine => Assert.Single(Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
}
