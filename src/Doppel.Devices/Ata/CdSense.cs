namespace Doppel.Devices.Ata;

/// <summary>Why a packet command failed: sense key, additional sense code and qualifier (SPC-3, 4.5).</summary>
/// <param name="Key">Sense key, 0 to 15.</param>
/// <param name="Code">Additional sense code.</param>
/// <param name="Qualifier">Additional sense code qualifier.</param>
public readonly record struct CdSense(byte Key, byte Code, byte Qualifier)
{
    /// <summary>Nothing is wrong.</summary>
    public static CdSense None => default;

    /// <summary>There is no medium, the tray is closed.</summary>
    public static CdSense NoMedium => new(2, 0x3A, 1);

    /// <summary>There is no medium, the tray is open.</summary>
    public static CdSense TrayOpen => new(2, 0x3A, 2);

    /// <summary>The medium can't be read there.</summary>
    public static CdSense ReadError => new(3, 0x11, 0);

    /// <summary>There is no such command.</summary>
    public static CdSense InvalidCommand => new(5, 0x20, 0);

    /// <summary>There is no such block.</summary>
    public static CdSense OutOfRange => new(5, 0x21, 0);

    /// <summary>A field of the command can't have this value.</summary>
    public static CdSense InvalidField => new(5, 0x24, 0);

    /// <summary>A field of the data can't have this value.</summary>
    public static CdSense InvalidParameter => new(5, 0x26, 0);

    /// <summary>The medium is of another kind.</summary>
    public static CdSense IncompatibleMedium => new(5, 0x30, 0);

    /// <summary>The host has locked the tray.</summary>
    public static CdSense Locked => new(5, 0x53, 2);

    /// <summary>The track has another mode.</summary>
    public static CdSense IllegalMode => new(5, 0x64, 0);

    /// <summary>The medium may be another.</summary>
    public static CdSense MediumChanged => new(6, 0x28, 0);

    /// <summary>The drive was reset.</summary>
    public static CdSense WasReset => new(6, 0x29, 0);
}
