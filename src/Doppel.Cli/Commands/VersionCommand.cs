using System.CommandLine;
using System.Reflection;

namespace Doppel.Cli.Commands;

/// <summary>doppel version.</summary>
internal static class VersionCommand
{
    /// <summary>The version, for example "0.1.0".</summary>
    internal static string Version { get; } = typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    internal static Command Create()
    {
        var command = new Command("version", "Print the version.");
        command.SetAction(_ => Print());
        return command;
    }

    internal static int Print()
    {
        Console.Out.Write($"doppel {Version}\n");
        return ExitCode.Success;
    }
}
