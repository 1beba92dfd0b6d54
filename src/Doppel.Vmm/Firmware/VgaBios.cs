namespace Doppel.Vmm.Firmware;

/// <summary>The VGA BIOS of the host's SeaBIOS package, and the font inside it.</summary>
internal static class VgaBios
{
    /// <summary>Bytes of the font: 256 characters of 16 lines.</summary>
    internal const int FontLength = 256 * 16;

    private static readonly string[] Folders = ["/usr/share/seabios", "/usr/share/qemu", "/usr/share/vgabios", "/usr/share/seavgabios"];

    /// <summary>Reads the ROM of an adapter.</summary>
    /// <param name="name">Its name, for example "vgabios-stdvga.bin".</param>
    /// <returns>Empty when the host has none.</returns>
    internal static byte[] Read(string name)
    {
        foreach (string folder in Folders)
        {
            string path = Path.Combine(folder, name);
            try
            {
                if (File.Exists(path))
                    return File.ReadAllBytes(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Another folder may have one that can be read.
            }
        }

        return [];
    }

    /// <summary>Finds the 8 by 16 font in a ROM.</summary>
    /// <returns>Empty when there is none.</returns>
    internal static ReadOnlySpan<byte> FindFont(ReadOnlySpan<byte> rom)
    {
        // Character 0 is empty; character 1 is a face.
        ReadOnlySpan<byte> begin = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x7E, 0x81, 0xA5, 0x81, 0x81, 0xBD, 0x99, 0x81, 0x81, 0x7E];
        int start = rom.IndexOf(begin);
        return start < 0 || rom.Length - start < FontLength ? [] : rom.Slice(start, FontLength);
    }
}
