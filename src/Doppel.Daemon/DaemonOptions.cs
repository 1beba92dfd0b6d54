using System.CommandLine;
using System.Globalization;

namespace Doppel.Daemon;

/// <summary>The daemon's command line.</summary>
internal sealed class DaemonOptions
{
    private const int MostSpares = 16;
    private readonly Option<string?> _listen = new("--listen") { Description = "Listen for other hosts, too: tls://ADDRESS:PORT. TCP without TLS there is none.", HelpName = "ADDRESS" };
    private readonly Option<string?> _certificate = new("--cert") { Description = "Certificate of --listen, PEM [default: one of its own, whose fingerprint is printed].", HelpName = "FILE" };
    private readonly Option<string?> _key = new("--key") { Description = "The certificate's key, PEM [default: in the same file].", HelpName = "FILE" };
    private readonly Option<string?> _token = new("--token-file") { Description = "File with the token that clients of --listen need [default: one that is made in the state directory].", HelpName = "FILE" };
    private readonly Option<string?> _state = new("--state-dir") { Description = "Keep machines there instead of in the user's state directory. The socket is there, too.", HelpName = "DIR" };
    private readonly Option<string?> _overcommit = new("--memory-overcommit") { Description = "Most memory of all running machines together, as a multiple of the host's, for example 1.5 [default: 1].", HelpName = "RATIO" };

    private readonly Option<int> _spares = new("--spares") { Description = "Worker processes that are started before a machine needs them, so that it starts sooner; each takes some 50 MiB. 0 to 16.", HelpName = "N", DefaultValueFactory = _ => 1 };

    /// <summary>Where other hosts come in; null for nowhere.</summary>
    internal string? Listen { get; private set; }

    /// <summary>The certificate's file; null for an own one.</summary>
    internal string? Certificate { get; private set; }

    /// <summary>The key's file; null for the certificate's.</summary>
    internal string? Key { get; private set; }

    /// <summary>The token's file; null for an own one.</summary>
    internal string? TokenFile { get; private set; }

    /// <summary>The state directory; null for the user's.</summary>
    internal string? StateDirectory { get; private set; }

    /// <summary>Most memory of running machines, as a multiple of the host's.</summary>
    internal double MemoryOvercommit { get; private set; } = 1;

    /// <summary>Workers that wait for a machine.</summary>
    internal int Spares { get; private set; }

    /// <summary>Parses a command line and does what it says.</summary>
    /// <param name="arguments">The command line.</param>
    /// <param name="run">Runs the daemon; its result is the exit code.</param>
    internal static Task<int> RunAsync(string[] arguments, Func<DaemonOptions, Task<int>> run)
    {
        var options = new DaemonOptions();
        var root = new RootCommand("Keeps machines in the background; \"doppel\" starts it when a command needs it.")
        {
            options._listen, options._certificate, options._key, options._token, options._state, options._overcommit, options._spares,
        };
        root.SetAction((result, _) =>
        {
            options.Read(result);
            return run(options);
        });
        ParseResult parsed = root.Parse(arguments);
        return parsed.Errors.Count > 0
            ? throw new IOException($"{parsed.Errors[0].Message}; \"doppeld --help\" lists what there is")
            : parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
    }

    private void Read(ParseResult result)
    {
        Listen = result.GetValue(_listen);
        Certificate = result.GetValue(_certificate);
        Key = result.GetValue(_key);
        TokenFile = result.GetValue(_token);
        StateDirectory = result.GetValue(_state);
        if (Listen is null && (Certificate ?? Key ?? TokenFile) is not null)
            throw new IOException("--cert, --key and --token-file: they go with --listen tls://ADDRESS:PORT");
        Spares = result.GetValue(_spares);
        if (Spares is < 0 or > MostSpares)
            throw new IOException($"--spares {Spares}: 0 to {MostSpares} would be right");
        if (result.GetValue(_overcommit) is string ratio)
        {
            MemoryOvercommit = double.TryParse(ratio, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double given) && given is >= 0.1 and <= 100
                ? given
                : throw new IOException($"--memory-overcommit {ratio}: 0.1 to 100, a multiple of the host's memory, would be right");
        }
    }
}
