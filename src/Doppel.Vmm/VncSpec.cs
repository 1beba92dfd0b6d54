using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using Doppel.Devices.Display.Rfb;

namespace Doppel.Vmm;

/// <summary>How VNC clients reach a machine's display.</summary>
public sealed record VncSpec
{
    /// <summary>The values that a user can give, for messages.</summary>
    public const string Choices = "vnc[=[ADDRESS]:N][,password-file=FILE][,tls]";

    /// <summary>Where the server listens; the usual address lets only programs of this host in.</summary>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>Number of the display, at port 5900 and so many; null for the first that is free.</summary>
    public int? Display { get; init; }

    /// <summary>File whose first line is what clients must know; null for nothing.</summary>
    public string? PasswordFile { get; init; }

    /// <summary>True to encrypt.</summary>
    public bool Tls { get; init; }

    /// <summary>Reads what a user gave.</summary>
    /// <param name="text">The value.</param>
    /// <param name="spec">What it says.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out VncSpec? spec)
    {
        ArgumentNullException.ThrowIfNull(text);
        spec = null;
        string[] parts = text.Split(',');
        var read = new VncSpec();
        string[] place = parts[0].Split('=', 2);
        if (place[0] != "vnc")
            return false;
        if (place.Length == 2)
        {
            int colon = place[1].LastIndexOf(':');
            if (colon < 0 || !int.TryParse(place[1].AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int display) || display > 65535 - RfbOptions.FirstPort)
                return false;
            string address = place[1][..colon].Trim('[', ']');
            if (address.Length != 0 && !IPAddress.TryParse(address, out _))
                return false;
            read = read with { Display = display, Address = address.Length == 0 ? read.Address : address };
        }

        foreach (string part in parts.Skip(1))
        {
            if (part == "tls")
                read = read with { Tls = true };
            else if (part.StartsWith("password-file=", StringComparison.Ordinal) && part.Length > 14)
                read = read with { PasswordFile = part[14..] };
            else
                return false;
        }

        spec = read;
        return true;
    }

    /// <summary>What the server is told.</summary>
    /// <param name="name">The machine's name.</param>
    /// <exception cref="SpecException">The address or the password can't be.</exception>
    internal RfbOptions ToOptions(string name)
    {
        if (!IPAddress.TryParse(Address, out IPAddress? address))
            throw new SpecException("vnc", $"--display vnc={Address}:{Display}: {Address} is no address; one such as 127.0.0.1 or ::1 would be right");
        return new RfbOptions { Address = address, Display = Display, Password = ReadPassword(), IsEncrypted = Tls, Name = name };
    }

    private string? ReadPassword()
    {
        if (PasswordFile is null)
            return null;
        try
        {
            string password = File.ReadLines(PasswordFile).FirstOrDefault("");
            return password.Length is >= 1 and <= 8 ? password : throw new SpecException("vnc", $"--display vnc,password-file={PasswordFile}: the password has {password.Length} characters; 1 to 8 would be right, for RFB looks at no more");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SpecException("vnc", $"--display vnc,password-file={PasswordFile}: the file can't be read: {e.Message}");
        }
    }
}
