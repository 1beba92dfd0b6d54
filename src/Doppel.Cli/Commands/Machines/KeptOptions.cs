using System.CommandLine;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The options of a machine that is kept by name.</summary>
internal sealed class KeptOptions
{
    private const string Choices = "no, on-failure or always";
    private readonly Option<string> _restart = new("--restart") { Description = $"When it starts again by itself: {Choices}.", HelpName = "POLICY", DefaultValueFactory = _ => "no" };
    private readonly Option<bool> _remove = new("--rm") { Description = "Remove it as soon as it has ended." };

    internal KeptOptions() => _restart.CompletionSources.Add("no", "on-failure", "always");

    internal IEnumerable<Option> All => [_restart, _remove];

    internal bool AutoRemove(ParseResult result) => result.GetValue(_remove);

    internal RestartPolicy Restart(ParseResult result) => Parse(result.GetRequiredValue(_restart));

    internal static RestartPolicy Parse(string text) => text switch
    {
        "no" => RestartPolicy.No,
        "on-failure" => RestartPolicy.OnFailure,
        "always" => RestartPolicy.Always,
        _ => throw new CliException(ExitCode.Usage, $"--restart {text}: {Choices} would be right"),
    };
}
