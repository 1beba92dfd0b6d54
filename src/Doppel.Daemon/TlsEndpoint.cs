using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Doppel.Api;
using Doppel.Host.Files;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Doppel.Daemon;

/// <summary>Where the daemon listens for other hosts: TCP, only with TLS, only for those who know its token.</summary>
internal sealed class TlsEndpoint
{
    private const string Bearer = "Bearer ";
    private const int TokenBytes = 32, ShortestToken = 16;
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly byte[] _tokenHash;

    private TlsEndpoint(IPEndPoint address, X509Certificate2 certificate, string token, string tokenFile)
    {
        Address = address;
        Certificate = certificate;
        TokenFile = tokenFile;
        _tokenHash = SHA256.HashData(Encoding.UTF8.GetBytes(token));
    }

    /// <summary>The address and port.</summary>
    internal IPEndPoint Address { get; }

    /// <summary>What the daemon proves itself with.</summary>
    internal X509Certificate2 Certificate { get; }

    /// <summary>The file with the token.</summary>
    internal string TokenFile { get; }

    /// <summary>The certificate's SHA-256, by which a client knows it that can't check it otherwise.</summary>
    internal string Fingerprint => Remote.FingerprintOf(Certificate);

    /// <summary>Reads an address, the certificate and the token; what isn't given is made in a folder, and found there the next time.</summary>
    /// <param name="listen">The address: tls://ADDRESS:PORT.</param>
    /// <param name="certificate">PEM file with the certificate and those that vouch for it; null to make one.</param>
    /// <param name="key">PEM file with its key; null if that is in the same file.</param>
    /// <param name="tokenFile">File with the token; null to make one.</param>
    /// <param name="folder">Where to make them.</param>
    /// <exception cref="IOException">Something can't be used; the message says what would be right.</exception>
    internal static TlsEndpoint Open(string listen, string? certificate, string? key, string? tokenFile, string folder)
    {
        IPEndPoint address = ParseAddress(listen);
        if (key is not null && certificate is null)
            throw new IOException($"--key {key}: it goes with --cert FILE");
        PrivateDirectory.Ensure(folder);
        return new TlsEndpoint(address, certificate is null ? OwnCertificate(folder) : Load(certificate, key ?? certificate), ReadToken(ref tokenFile, folder), tokenFile!);
    }

    /// <summary>Adds it to a server.</summary>
    internal void Listen(KestrelServerOptions options) => options.Listen(Address, listen => listen.UseHttps(Certificate));

    /// <summary>True when a request has the token.</summary>
    internal bool Admits(HttpRequest request)
    {
        string given = request.Headers.Authorization.ToString();
        return given.StartsWith(Bearer, StringComparison.Ordinal) && CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(given[Bearer.Length..])), _tokenHash);
    }

    private static IPEndPoint ParseAddress(string listen)
    {
        const string Right = "tls://ADDRESS:PORT, for example tls://0.0.0.0:7770, would be right";
        if (listen.StartsWith("tcp://", StringComparison.Ordinal) || listen.StartsWith("http://", StringComparison.Ordinal))
            throw new IOException($"--listen {listen}: without TLS everybody on the way could take over the machines; {Right}");
        return listen.StartsWith(Remote.Scheme, StringComparison.Ordinal) && IPEndPoint.TryParse(listen[Remote.Scheme.Length..], out IPEndPoint? address) && address.Port != 0
            ? address
            : throw new IOException($"--listen {listen}: {Right}");
    }

    private static X509Certificate2 Load(string certificate, string key)
    {
        try
        {
            using var pem = X509Certificate2.CreateFromPemFile(certificate, key);
            // A key from PEM is not one that the TLS layer can use as it is.
            return X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
        }
        catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new IOException($"--cert {certificate} --key {key}: {e.Message}; PEM files of a certificate and its key would be right", e);
        }
    }

    private static X509Certificate2 OwnCertificate(string folder)
    {
        string certificate = Path.Combine(folder, "cert.pem"), key = Path.Combine(folder, "key.pem");
        if (!File.Exists(certificate) || !File.Exists(key))
        {
            using var pair = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var request = new CertificateRequest($"CN=Doppel on {Environment.MachineName}", pair, HashAlgorithmName.SHA256);
            var names = new SubjectAlternativeNameBuilder();
            names.AddDnsName(Environment.MachineName);
            names.AddDnsName("localhost");
            names.AddIpAddress(IPAddress.Loopback);
            request.CertificateExtensions.Add(names.Build());
            request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], critical: false));
            using X509Certificate2 made = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddYears(10));
            // The key comes first: a certificate without it would not be made again.
            WritePrivate(key, pair.ExportPkcs8PrivateKeyPem());
            WritePrivate(certificate, made.ExportCertificatePem());
        }

        return Load(certificate, key);
    }

    private static string ReadToken(ref string? file, string folder)
    {
        if (file is null)
        {
            file = Path.Combine(folder, "token");
            if (!File.Exists(file))
                WritePrivate(file, Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(TokenBytes)) + "\n");
        }

        string token = File.ReadAllText(file).Trim();
        return token.Length >= ShortestToken ? token : throw new IOException($"--token-file {file}: its token has {token.Length} characters; at least {ShortestToken} would be right");
    }

    private static void WritePrivate(string path, string text)
    {
        AtomicFile.Write(path, Encoding.ASCII.GetBytes(text));
        File.SetUnixFileMode(path, Private);
    }
}
