namespace Doppel.Cli.Commands.Machines;

/// <summary>A document is not the YAML that is read here.</summary>
/// <param name="line">The line, counted from 1.</param>
/// <param name="message">What is wrong.</param>
internal sealed class YamlException(long line, string message) : Exception(message)
{
    /// <summary>The line, counted from 1.</summary>
    internal long Line { get; } = line;
}
