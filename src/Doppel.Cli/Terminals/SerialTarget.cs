namespace Doppel.Cli.Terminals;

/// <summary>What --serial names.</summary>
/// <param name="Kind">Where the serial port goes.</param>
/// <param name="Path">For a file: its path.</param>
internal readonly record struct SerialTarget(SerialKind Kind, string? Path)
{
    /// <summary>The values that a user can give, for messages.</summary>
    internal const string Choices = "stdio, file:PATH, pty or none";

    /// <summary>The value that holds when none is given.</summary>
    internal const string Default = "stdio";

    /// <summary>Reads a value; null when it is none.</summary>
    internal static SerialTarget? Parse(string text) => text switch
    {
        "stdio" => new SerialTarget(SerialKind.Stdio, null),
        "pty" => new SerialTarget(SerialKind.Pty, null),
        "none" => new SerialTarget(SerialKind.None, null),
        _ when text.StartsWith("file:", StringComparison.Ordinal) && text.Length > 5 => new SerialTarget(SerialKind.File, text[5..]),
        _ => null,
    };
}

/// <summary>Where a serial port goes.</summary>
internal enum SerialKind
{
    /// <summary>Standard input and output.</summary>
    Stdio,

    /// <summary>A file, output only.</summary>
    File,

    /// <summary>A new pseudo-terminal.</summary>
    Pty,

    /// <summary>Nowhere.</summary>
    None,
}
