using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Doppel.Api;

/// <summary>A daemon on another host: its address, how it is known, and what lets one in.</summary>
/// <param name="Host">Its name or address.</param>
/// <param name="Port">Its port.</param>
/// <param name="Token">What is in its token file.</param>
/// <param name="Fingerprint">SHA-256 of its certificate, hexadecimal; null to trust whom the system trusts.</param>
public sealed record Remote(string Host, int Port, string Token, string? Fingerprint)
{
    /// <summary>What addresses begin with.</summary>
    public const string Scheme = "tls://";

    /// <summary>Port of an address that has none.</summary>
    public const int DefaultPort = 7770;

    /// <summary>Reads an address.</summary>
    /// <param name="address">tls://HOST[:PORT].</param>
    /// <param name="tokenFile">File with the token.</param>
    /// <param name="fingerprint">As <see cref="Fingerprint"/>; colons may be in it.</param>
    /// <exception cref="FormatException">A value is wrong; the message says what would be right.</exception>
    /// <exception cref="IOException">The token can't be read.</exception>
    public static Remote Parse(string address, string? tokenFile, string? fingerprint)
    {
        // Whatever the file, what is wrong with the address is said first.
        Remote remote = Of(address, "", fingerprint);
        return tokenFile is null
            ? throw new FormatException($"{address}: a file with the daemon's token is needed; --token-file FILE, or the variable DOPPEL_TOKEN_FILE, would be right")
            : remote with { Token = ReadToken(tokenFile) };
    }

    /// <summary>The same with a token that is known.</summary>
    /// <param name="address">tls://HOST[:PORT].</param>
    /// <param name="token">The token.</param>
    /// <param name="fingerprint">As <see cref="Fingerprint"/>; colons may be in it.</param>
    /// <exception cref="FormatException">A value is wrong; the message says what would be right.</exception>
    public static Remote Of(string address, string? token, string? fingerprint)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (!address.StartsWith(Scheme, StringComparison.Ordinal) || !Uri.TryCreate(address, UriKind.Absolute, out Uri? uri) || uri.Host.Length == 0 || uri.AbsolutePath is not ("" or "/"))
            throw new FormatException($"{address}: tls://HOST:PORT would be right");
        if (token is null || token.Any(c => c is <= ' ' or > '~'))
            throw new FormatException($"{address}: the daemon's token is missing, or has other characters than a token's; what is in its token file would be right");
        string? known = fingerprint?.Replace(":", "", StringComparison.Ordinal).ToUpperInvariant();
        if (known is not null && (known.Length != 2 * SHA256.HashSizeInBytes || !known.All(char.IsAsciiHexDigit)))
            throw new FormatException($"fingerprint {fingerprint}: the {SHA256.HashSizeInBytes} hexadecimal bytes that the daemon prints would be right");
        return new Remote(uri.IdnHost, uri.Port < 0 ? DefaultPort : uri.Port, token, known);
    }

    /// <summary>Reads a token's file.</summary>
    /// <exception cref="IOException">It can't be read.</exception>
    public static string ReadToken(string file)
    {
        try
        {
            return File.ReadAllText(file).Trim();
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"{file}: {e.Message}", e);
        }
    }

    /// <summary>A certificate's fingerprint, as people compare it.</summary>
    public static string FingerprintOf(X509Certificate certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return string.Join(':', Convert.FromHexString(certificate.GetCertHashString(HashAlgorithmName.SHA256)).Select(each => each.ToString("X2", System.Globalization.CultureInfo.InvariantCulture)));
    }

    /// <summary>How a connection to it is secured; the daemon's certificate must be the known one, or one that the system trusts.</summary>
    public SslClientAuthenticationOptions Authentication() => new()
    {
        TargetHost = Host,
        RemoteCertificateValidationCallback = (_, certificate, _, errors) =>
        {
            bool isKnown = certificate is not null && (Fingerprint is null ? errors == SslPolicyErrors.None : certificate.GetCertHashString(HashAlgorithmName.SHA256) == Fingerprint);
            return isKnown ? isKnown : throw new AuthenticationException(certificate is null
                ? $"{Host}:{Port} has no certificate"
                : $"the certificate of {Host}:{Port} has the fingerprint {FingerprintOf(certificate)}, which is not {(Fingerprint is null ? "one that this host trusts; if its daemon prints the same, --fingerprint with it" : $"{Fingerprint}; the one that its daemon prints")} would be right");
        },
    };
}
