using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json;
using Doppel.Api;
using Doppel.Vmm;
using Doppel.Vmm.Migration;

namespace Doppel.Cli.Commands.Machines;

/// <summary>doppel migrate: moves a running machine to another daemon.</summary>
internal static class MigrateCommand
{
    private const string UnixScheme = "unix:";

    internal static Command Create()
    {
        Argument<string> machine = Daemon.Machine("The machine's name. It runs in the background.");
        var target = new Argument<string>("target") { Description = "The daemon that gets it: tls://HOST[:PORT], or unix:PATH, its socket on the same host." };
        var token = new Option<string?>("--target-token-file") { Description = "File with that daemon's token [default: --token-file, where no --host is given].", HelpName = "FILE" };
        var fingerprint = new Option<string?>("--target-fingerprint") { Description = "SHA-256 of that daemon's certificate [default: --fingerprint, where no --host is given].", HelpName = "HEX" };
        var downtime = new Option<string?>("--downtime") { Description = "How long the guest may stand still [default: 60ms].", HelpName = "TIME" };
        var bandwidth = new Option<string?>("--bandwidth") { Description = "Bytes a second that it may take, such as 50M [default: no limit].", HelpName = "SIZE" };
        var connections = new Option<int>("--connections") { Description = $"Connections for memory, 1 to {MigrationOptions.MaximumConnections}.", HelpName = "N", DefaultValueFactory = _ => new MigrationOptions().Connections };
        var compression = new Option<MigrationCompression>("--compression") { Description = "Compress memory on its way: auto (when that is sooner there), none or zstandard.", HelpName = "KIND", DefaultValueFactory = _ => MigrationCompression.Auto };
        var copy = new Option<bool>("--copy-disks") { Description = "Copy the disks along; without it the other daemon opens the same images under the same paths." };
        var postCopy = new Option<string?>("--post-copy") { Description = "Let a machine that writes faster than its memory is sent go on there before all of it has come: auto (where that host can; what --post-copy alone means) or required.", HelpName = "WHEN", Arity = ArgumentArity.ZeroOrOne };
        postCopy.CompletionSources.Add("auto", "required");
        var engine = new Option<string?>("--engine") { Description = "Go on under another engine.", HelpName = "NAME" };
        engine.CompletionSources.Add([.. EngineNames.All]);
        var json = new Option<bool>("--json") { Description = "Print how it went as JSON." };
        var command = new ExampledCommand(
            "migrate",
            "Move a running machine to another daemon, where it goes on; Ctrl-C lets it stay.",
            "doppel migrate web tls://host2:7770 --token-file host2.token --fingerprint 4F:0A:...",
            "doppel migrate web unix:/srv/doppel/run/doppeld --downtime 20ms --bandwidth 100M")
        { machine, target, token, fingerprint, downtime, bandwidth, connections, compression, copy, postCopy, engine, json };
        command.SetAction((result, cancel) =>
        {
            string to = result.GetRequiredValue(target);
            string? tokenFile = result.GetValue(token) ?? HostOptions.TokenFileOfOther(result);
            var request = new MigrateRequest
            {
                // A path is meant here, whatever the daemon's directory.
                Target = to.StartsWith(UnixScheme, StringComparison.Ordinal) ? UnixScheme + Path.GetFullPath(to[UnixScheme.Length..]) : to,
                Token = to.StartsWith(Remote.Scheme, StringComparison.Ordinal) ? Remote.ReadToken(tokenFile ?? throw new CliException(ExitCode.Usage, $"{to}: a file with that daemon's token is needed; --target-token-file FILE would be right")) : null,
                Fingerprint = result.GetValue(fingerprint) ?? HostOptions.FingerprintOfOther(result),
                Downtime = result.GetValue(downtime) is string time ? Milliseconds(time) : new MigrationOptions().Downtime.TotalMilliseconds,
                Bandwidth = result.GetValue(bandwidth) is string rate ? Rate(rate) : 0,
                Connections = result.GetValue(connections),
                Compression = result.GetValue(compression),
                CopyDisks = result.GetValue(copy),
                PostCopy = result.GetResult(postCopy) is OptionResult { Implicit: false } given ? PostCopy(given) : PostCopyChoice.Never,
                Engine = result.GetValue(engine),
            };
            return RunAsync(result, result.GetRequiredValue(machine), request, result.GetValue(json), cancel);
        });
        return command;
    }

    private static async Task<int> RunAsync(ParseResult result, string name, MigrateRequest request, bool isJson, CancellationToken cancel)
    {
        using DaemonClient daemon = Daemon.Connect(result);
        MigrationProgress end;
        try
        {
            using var line = new OperationLine();
            end = await daemon.MigrateAsync(name, request, line.Show, cancel).ConfigureAwait(false);
        }
        catch (ApiException e) when (e.Status == 409)
        {
            throw new CliException(ExitCode.NotMigrated, e.Message, e);
        }

        if (isJson)
        {
            Console.Out.Write(JsonSerializer.Serialize(end, ApiJson.Default.MigrationProgress) + "\n");
            return ExitCode.Success;
        }

        if (end.Message is string lost)
            throw new CliException(ExitCode.Host, $"{name}: {lost}");
        if (end.Notice is string notice)
            Talk.Line($"doppel: {notice}");
        string stopped = end.DowntimeSeconds is double seconds ? string.Create(CultureInfo.InvariantCulture, $"; it stood still for {seconds * 1000:0} ms") : "";
        Talk.Line($"doppel: {name} goes on at {request.Target}{stopped}");
        return ExitCode.Success;
    }

    private static PostCopyChoice PostCopy(OptionResult given) => given.Tokens.Count == 0
        ? PostCopyChoice.Auto
        : given.Tokens[0].Value switch
        {
            "auto" => PostCopyChoice.Auto,
            "required" => PostCopyChoice.Required,
            string other => throw new CliException(ExitCode.Usage, $"--post-copy {other}: auto or required would be right"),
        };

    private static double Milliseconds(string text)
    {
        (string number, double unit) = text.EndsWith("ms", StringComparison.Ordinal) ? (text[..^2], 1.0) : text.EndsWith('s') ? (text[..^1], 1000.0) : (text, 0.0);
        return unit != 0 && double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value)
            ? value * unit
            : throw new CliException(ExitCode.Usage, $"--downtime {text}: a time such as 60ms or 0.5s would be right");
    }

    private static ulong Rate(string text) => MemorySize.TryParse(text, out ulong bytes) ? bytes : throw new CliException(ExitCode.Usage, $"--bandwidth {text}: bytes a second such as 50M, or 0 for no limit, would be right");
}
