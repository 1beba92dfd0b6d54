namespace Doppel.Cli;

/// <summary>Ends the command with a line on standard error and an exit code.</summary>
internal sealed class CliException : Exception
{
    internal CliException(int exitCode, string message, Exception? inner = null)
        : base(message, inner) => ExitCode = exitCode;

    internal int ExitCode { get; }
}
