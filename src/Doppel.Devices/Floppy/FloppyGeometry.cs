namespace Doppel.Devices.Floppy;

/// <summary>How a diskette is divided, and how its drive reads it.</summary>
/// <param name="Cylinders">Cylinders.</param>
/// <param name="Heads">Sides.</param>
/// <param name="Sectors">Sectors of a track, of 512 bytes.</param>
/// <param name="Rates">Data rates at which it can be read, as bits: bit n for the rate n of the configuration control register (0: 500, 1: 300, 2: 250, 3: 1000 kbit/s).</param>
/// <param name="CmosType">The kind of drive that it is made for, as the CMOS memory of a PC names it: 1 (360K), 2 (1.2M), 3 (720K), 4 (1.44M), 5 (2.88M).</param>
public readonly record struct FloppyGeometry(int Cylinders, int Heads, int Sectors, int Rates, byte CmosType)
{
    /// <summary>Bytes of a sector.</summary>
    public const int SectorSize = 512;

    private const int At500 = 1, At300 = 2, At250 = 4, At1000 = 8;

    // Disks of 5.25" with 40 cylinders turn faster in the drives of the AT, so that their rate there is another.
    private static readonly FloppyGeometry[] Known =
    [
        new(40, 1, 8, At250 | At300, 1), new(40, 1, 9, At250 | At300, 1), new(40, 2, 8, At250 | At300, 1), new(40, 2, 9, At250 | At300, 1),
        new(80, 2, 8, At250, 3), new(80, 2, 15, At500, 2), new(80, 2, 9, At250, 3), new(80, 2, 18, At500, 4), new(80, 2, 21, At500, 4), new(82, 2, 21, At500, 4), new(80, 2, 36, At1000, 5),
    ];

    /// <summary>What a drive without a diskette is taken for.</summary>
    public static FloppyGeometry Usual { get; } = new(80, 2, 18, At500, 4);

    /// <summary>Bytes of the diskette.</summary>
    public int Length => Cylinders * Heads * Sectors * SectorSize;

    /// <summary>The kind of drive that a guest is told of: one of 80 cylinders that reads every diskette of its width.</summary>
    public byte DriveType => CmosType switch { 1 or 2 => 2, 3 or 4 => 4, _ => CmosType };

    /// <summary>The geometry of a diskette of a size; null for a size that no diskette has.</summary>
    public static FloppyGeometry? Find(ulong length)
    {
        foreach (FloppyGeometry geometry in Known)
        {
            if ((ulong)geometry.Length == length)
                return geometry;
        }

        return null;
    }
}
