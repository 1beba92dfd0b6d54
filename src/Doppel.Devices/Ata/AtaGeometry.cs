namespace Doppel.Devices.Ata;

/// <summary>How a disk is divided into cylinders, heads and sectors (ATA-3, 6.2): sectors count from 1, the others from 0.</summary>
/// <param name="Cylinders">1 to 65,535.</param>
/// <param name="Heads">1 to 16.</param>
/// <param name="Sectors">Sectors of a track, 1 to 255.</param>
public readonly record struct AtaGeometry(int Cylinders, int Heads, int Sectors)
{
    private const int LargestCylinders = 16383;

    /// <summary>Sectors that can be reached.</summary>
    public ulong Capacity => (ulong)Cylinders * (ulong)Heads * (ulong)Sectors;

    /// <summary>The division that a disk has by itself: 16 heads of 63 sectors, and as many cylinders as fit, up to 16,383.</summary>
    /// <param name="sectors">Sectors of the disk.</param>
    public static AtaGeometry ForDisk(ulong sectors) => new((int)Math.Clamp(sectors / (16 * 63), 1, LargestCylinders), 16, 63);

    /// <summary>The same disk divided otherwise.</summary>
    public AtaGeometry Translate(ulong disk, int heads, int sectors) =>
        new((int)Math.Clamp(Math.Min(disk, (ulong)LargestCylinders * 16 * 63) / (ulong)(heads * sectors), 1, ushort.MaxValue), heads, sectors);

    /// <summary>The number of a sector; null for one that there isn't.</summary>
    public ulong? Find(int cylinder, int head, int sector) =>
        cylinder < Cylinders && head < Heads && sector >= 1 && sector <= Sectors
            ? ((((ulong)cylinder * (ulong)Heads) + (ulong)head) * (ulong)Sectors) + (ulong)sector - 1
            : null;

    /// <summary>Where a sector is.</summary>
    public (int Cylinder, int Head, int Sector) Locate(ulong number)
    {
        ulong track = number / (ulong)Sectors;
        return ((int)(track / (ulong)Heads), (int)(track % (ulong)Heads), (int)(number % (ulong)Sectors) + 1);
    }
}
