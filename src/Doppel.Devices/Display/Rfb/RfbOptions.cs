using System.Net;

namespace Doppel.Devices.Display.Rfb;

/// <summary>How an RFB server is reached.</summary>
public sealed record RfbOptions
{
    /// <summary>TCP port of display 0; display N has the port N above it.</summary>
    public const int FirstPort = 5900;

    /// <summary>Where it listens. The usual address lets only programs of this host in.</summary>
    public IPAddress Address { get; init; } = IPAddress.Loopback;

    /// <summary>Number of the display, 0 to 59635; null for the first that is free from 0 to 99.</summary>
    public int? Display { get; init; }

    /// <summary>What clients must know: 1 to 8 characters count; null for nothing.</summary>
    public string? Password { get; init; }

    /// <summary>True to encrypt: only clients that know VeNCrypt with X.509 get in.</summary>
    public bool IsEncrypted { get; init; }

    /// <summary>What clients show as the name of the desktop.</summary>
    public string Name { get; init; } = "doppel";
}
