namespace Doppel.Devices.Display.Rfb;

/// <summary>Numbers of encodings (RFC 6143, 7.7 and 7.8, and the registry that it names).</summary>
internal static class RfbEncoding
{
    internal const int Raw = 0, CopyRect = 1, Hextile = 5, Zlib = 6, Tight = 7, Zrle = 16;
    internal const int DesktopSize = -223, ExtendedDesktopSize = -308;
    internal const int QemuPointerMotion = -257, QemuExtendedKey = -258;
    internal const int LastRect = -224;

    /// <summary>True for those that have pixels.</summary>
    internal static bool HasPixels(int encoding) => encoding is Raw or Hextile or Zlib or Tight or Zrle;
}
