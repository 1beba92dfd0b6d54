namespace Doppel.Cli;

/// <summary>What the command says to its user: on standard error, so that standard output stays data.</summary>
internal static class Talk
{
    /// <summary>Writes a line; with a carriage return, so that it also looks right while the terminal is raw.</summary>
    internal static void Line(string text, bool isRaw = false) => Console.Error.Write(isRaw ? text.Replace("\n", "\r\n", StringComparison.Ordinal) + "\r\n" : text + "\n");

    /// <summary>Reports an error.</summary>
    internal static void Error(string message) => Line("doppel: " + message);
}
