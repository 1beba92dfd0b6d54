using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Doppel.Devices.Display.Rfb;

/// <summary>The begin of a connection: version, security type and password (RFC 6143, 7.1 and 7.2; VeNCrypt 0.2).</summary>
internal static class RfbHandshake
{
    private const byte None = 1, Password = 2, VeNCrypt = 19;
    private const int X509None = 260, X509Password = 261;
    private static readonly TimeSpan LongestTime = TimeSpan.FromSeconds(60);

    /// <summary>Lets a client in.</summary>
    /// <param name="stream">The connection.</param>
    /// <param name="password">What it must know; null for nothing.</param>
    /// <param name="certificate">The server's, if the connection is to be encrypted.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>The connection as it goes on; null when the client doesn't get in.</returns>
    internal static async Task<Stream?> RunAsync(Stream stream, string? password, X509Certificate2? certificate, CancellationToken cancel)
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        time.CancelAfter(LongestTime);
        cancel = time.Token;
        await stream.WriteAsync("RFB 003.008\n"u8.ToArray(), cancel).ConfigureAwait(false);
        byte[] version = await ReadAsync(stream, 12, cancel).ConfigureAwait(false);
        string text = Encoding.ASCII.GetString(version);
        if (!text.StartsWith("RFB 003.", StringComparison.Ordinal))
            throw new InvalidDataException("the client doesn't speak RFB 3");
        int minor = text[8..11] switch
        {
            "008" => 8,
            "007" => 7,
            _ => 3,
        };
        byte type = certificate is not null ? VeNCrypt : password is not null ? Password : None;
        if (minor == 3)
        {
            if (type == VeNCrypt)
            {
                byte[] reason = Encoding.ASCII.GetBytes("this server wants encryption (RFB 3.7 with VeNCrypt)");
                await stream.WriteAsync((byte[])[0, 0, 0, 0, 0, 0, 0, (byte)reason.Length, .. reason], cancel).ConfigureAwait(false);
                return null;
            }

            await stream.WriteAsync((byte[])[0, 0, 0, type], cancel).ConfigureAwait(false);
        }
        else
        {
            await stream.WriteAsync((byte[])[1, type], cancel).ConfigureAwait(false);
            if ((await ReadAsync(stream, 1, cancel).ConfigureAwait(false))[0] != type)
                return await RefuseAsync(stream, minor, "that security type wasn't offered", cancel).ConfigureAwait(false);
        }

        if (type == VeNCrypt)
            stream = await EncryptAsync(stream, password is null ? X509None : X509Password, certificate!, cancel).ConfigureAwait(false);
        if (password is not null && !await CheckPasswordAsync(stream, password, cancel).ConfigureAwait(false))
            return await RefuseAsync(stream, minor, "the password is wrong", cancel).ConfigureAwait(false);
        // Before version 3.8 only a password has a result.
        if (minor == 8 || password is not null || type == VeNCrypt)
            await stream.WriteAsync(new byte[4], cancel).ConfigureAwait(false);
        return stream;
    }

    /// <summary>What a client answers to a challenge.</summary>
    [SuppressMessage("Security", "CA5351:Do Not Use Broken Cryptographic Algorithms", Justification = "RFB's password check is DES by definition (RFC 6143, 7.2.2); --display vnc=...,tls encrypts.")]
    [SuppressMessage("Security", "CA5358:Review cipher mode usage with cryptography experts", Justification = "As above.")]
    internal static byte[] Answer(string password, ReadOnlySpan<byte> challenge)
    {
        using var des = DES.Create();
        des.Key = KeyOf(password);
        return des.EncryptEcb(challenge, PaddingMode.None);
    }

    /// <summary>False for the few passwords whose key DES has no use for.</summary>
    [SuppressMessage("Security", "CA5351:Do Not Use Broken Cryptographic Algorithms", Justification = "As above.")]
    internal static bool IsUsable(string password)
    {
        byte[] key = KeyOf(password);
        return !DES.IsWeakKey(key) && !DES.IsSemiWeakKey(key);
    }

    // The password, each byte with its bits in the other order.
    private static byte[] KeyOf(string password)
    {
        byte[] key = new byte[8];
        byte[] characters = Encoding.Latin1.GetBytes(password);
        for (int i = 0; i < Math.Min(characters.Length, key.Length); i++)
        {
            for (int bit = 0; bit < 8; bit++)
                key[i] |= (byte)(((characters[i] >> bit) & 1) << (7 - bit));
        }

        return key;
    }

    private static async Task<byte[]> ReadAsync(Stream stream, int count, CancellationToken cancel)
    {
        byte[] bytes = new byte[count];
        await stream.ReadExactlyAsync(bytes, cancel).ConfigureAwait(false);
        return bytes;
    }

    private static async Task<Stream?> RefuseAsync(Stream stream, int minor, string reason, CancellationToken cancel)
    {
        byte[] text = Encoding.ASCII.GetBytes(reason);
        byte[] message = minor == 8 ? [0, 0, 0, 1, 0, 0, 0, (byte)text.Length, .. text] : [0, 0, 0, 1];
        await stream.WriteAsync(message, cancel).ConfigureAwait(false);
        return null;
    }

    private static async Task<bool> CheckPasswordAsync(Stream stream, string password, CancellationToken cancel)
    {
        byte[] challenge = RandomNumberGenerator.GetBytes(16);
        await stream.WriteAsync(challenge, cancel).ConfigureAwait(false);
        byte[] answer = await ReadAsync(stream, challenge.Length, cancel).ConfigureAwait(false);
        return CryptographicOperations.FixedTimeEquals(answer, Answer(password, challenge));
    }

    private static async Task<Stream> EncryptAsync(Stream stream, int subtype, X509Certificate2 certificate, CancellationToken cancel)
    {
        await stream.WriteAsync((byte[])[0, 2], cancel).ConfigureAwait(false);
        byte[] version = await ReadAsync(stream, 2, cancel).ConfigureAwait(false);
        if (version is not [0, 2])
        {
            await stream.WriteAsync((byte[])[0xFF], cancel).ConfigureAwait(false);
            throw new InvalidDataException("the client doesn't know VeNCrypt 0.2");
        }

        byte[] offer = new byte[6];
        offer[1] = 1;
        BinaryPrimitives.WriteInt32BigEndian(offer.AsSpan(2), subtype);
        await stream.WriteAsync(offer, cancel).ConfigureAwait(false);
        byte[] chosen = await ReadAsync(stream, 4, cancel).ConfigureAwait(false);
        bool isRight = BinaryPrimitives.ReadInt32BigEndian(chosen) == subtype;
        await stream.WriteAsync((byte[])[isRight ? (byte)1 : (byte)0], cancel).ConfigureAwait(false);
        if (!isRight)
            throw new InvalidDataException("the client chose what wasn't offered");
        var tls = new SslStream(stream, leaveInnerStreamOpen: false);
        await tls.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = certificate }, cancel).ConfigureAwait(false);
        return tls;
    }
}
