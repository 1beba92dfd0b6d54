using System.CommandLine;
using Doppel.Vmm;

namespace Doppel.Cli.Terminals;

/// <summary>What --serial names.</summary>
/// <param name="Kind">Where the serial port goes.</param>
/// <param name="Path">For a file: its path.</param>
internal readonly record struct SerialTarget(SerialKind Kind, string? Path)
{
    /// <summary>The values that a user can give, for messages.</summary>
    internal const string Choices = "stdio, file:PATH, pty or none";

    /// <summary>The first port's value when none is given.</summary>
    private const string Default = "stdio";

    /// <summary>Makes the option.</summary>
    internal static Option<string[]> CreateOption()
    {
        var option = new Option<string[]>("--serial") { Description = $"First serial port, and given again the second, third and fourth: {Choices} [default: {Default}].", HelpName = "TARGET", Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false };
        option.CompletionSources.Add("stdio", "pty", "none", "file:");
        return option;
    }

    /// <summary>Reads the option's values: as many as are given, or the first port's default.</summary>
    /// <exception cref="CliException">One is wrong; the message says what would be right.</exception>
    internal static IReadOnlyList<SerialTarget> Read(string[]? texts)
    {
        if (texts is null or [])
            return [new SerialTarget(SerialKind.Stdio, null)];
        if (texts.Length > MachineSpec.MaximumSerialPorts)
            throw new CliException(ExitCode.Usage, $"--serial is given {texts.Length} times: at most {MachineSpec.MaximumSerialPorts} serial ports would be right");
        SerialTarget[] targets = [.. texts.Select(text => Parse(text) ?? throw new CliException(ExitCode.Usage, $"--serial {(text.Length == 0 ? "\"\"" : text)}: {Choices} would be right"))];
        return targets.Count(target => target.Kind == SerialKind.Stdio) <= 1
            ? targets
            : throw new CliException(ExitCode.Usage, "--serial stdio is given more than once: one serial port on the terminal would be right");
    }

    private static SerialTarget? Parse(string text) => text switch
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
