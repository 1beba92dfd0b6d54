using System.CommandLine;

namespace Doppel.Cli.Commands;

/// <summary>doppel completion: scripts that ask the command itself what may follow.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        # Completion of doppel for bash: source <(doppel completion bash)
        _doppel() {
            local word=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "$(doppel "[suggest:${#line}]" "$line" 2>/dev/null)" -- "$word"))
        }
        complete -o default -F _doppel doppel

        """;

    private const string Zsh = """
        #compdef doppel
        # Completion of doppel for zsh: source <(doppel completion zsh)
        _doppel() {
            local -a words
            words=("${(@f)$(doppel "[suggest:${#BUFFER[1,CURSOR]}]" "${BUFFER[1,CURSOR]}" 2>/dev/null)}")
            if (( ${#words[1]} )); then compadd -a words; else _files; fi
        }
        compdef _doppel doppel

        """;

    private const string Fish = """
        # Completion of doppel for fish: doppel completion fish | source
        complete -c doppel -a '(set -l line (commandline -cp); doppel "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null)'

        """;

    internal static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish." };
        _ = shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "Print a completion script for a shell.") { shell };
        command.SetAction(result =>
        {
            Console.Out.Write(result.GetRequiredValue(shell) switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                _ => Fish,
            });
            return ExitCode.Success;
        });
        return command;
    }
}
