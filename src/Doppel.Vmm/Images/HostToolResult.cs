namespace Doppel.Vmm.Images;

/// <summary>How a program ended.</summary>
internal readonly record struct HostToolResult(int ExitCode, string Errors)
{
    /// <summary>The first line that reports an error, else the first line, else the exit code.</summary>
    internal string FirstError
    {
        get
        {
            string[] lines = Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            return lines.FirstOrDefault(l => l.StartsWith("E:", StringComparison.Ordinal))
                ?? lines.FirstOrDefault(l => l.StartsWith("W:", StringComparison.Ordinal))
                ?? lines.FirstOrDefault()
                ?? $"exit code {ExitCode}";
        }
    }
}
