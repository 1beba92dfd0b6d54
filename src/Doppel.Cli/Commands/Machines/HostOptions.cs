using System.CommandLine;
using Doppel.Api;

namespace Doppel.Cli.Commands.Machines;

/// <summary>The options, of all commands, that lead to another host's daemon. Each has a variable that stands for it.</summary>
internal static class HostOptions
{
    private const string HostName = "--host", TokenName = "--token-file", FingerprintName = "--fingerprint";
    private const string HostVariable = "DOPPEL_HOST", TokenVariable = "DOPPEL_TOKEN_FILE", FingerprintVariable = "DOPPEL_FINGERPRINT";

    /// <summary>The options.</summary>
    internal static IEnumerable<Option> Create() =>
    [
        new Option<string?>(HostName) { Description = $"Machines of another host, whose daemon listens there [default: ${HostVariable}, else this host's].", HelpName = "tls://HOST:PORT", Recursive = true },
        new Option<string?>(TokenName) { Description = $"File with that daemon's token [default: ${TokenVariable}].", HelpName = "FILE", Recursive = true },
        new Option<string?>(FingerprintName) { Description = $"SHA-256 of that daemon's certificate, if nobody whom this host trusts vouches for it [default: ${FingerprintVariable}].", HelpName = "HEX", Recursive = true },
    ];

    /// <summary>True when another host is named.</summary>
    internal static bool IsGiven(ParseResult result) => Get(result, HostName, HostVariable) is not null;

    /// <summary>The other host; null for this one.</summary>
    internal static Remote? Read(ParseResult result)
    {
        if (Get(result, HostName, HostVariable) is not string host)
            return null;
        try
        {
            return Remote.Parse(host, Get(result, TokenName, TokenVariable), Get(result, FingerprintName, FingerprintVariable));
        }
        catch (FormatException e)
        {
            throw new CliException(ExitCode.Usage, $"{HostName} {e.Message}", e);
        }
    }

    /// <summary>The token's file for another daemon than the one that is asked; null when it is that one's.</summary>
    internal static string? TokenFileOfOther(ParseResult result) => IsGiven(result) ? null : Get(result, TokenName, TokenVariable);

    /// <summary>The fingerprint for another daemon than the one that is asked; null when it is that one's.</summary>
    internal static string? FingerprintOfOther(ParseResult result) => IsGiven(result) ? null : Get(result, FingerprintName, FingerprintVariable);

    private static string? Get(ParseResult result, string option, string variable) =>
        result.GetValue<string?>(option) ?? (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : null);
}
