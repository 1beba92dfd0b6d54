using Doppel.Devices.Storage;

namespace Doppel.Devices.Floppy;

/// <summary>A floppy drive: where its head is, and the diskette in it. The machine's I/O lock guards it.</summary>
internal sealed class FloppyDrive
{
    /// <summary>Cylinders that a head can be moved over.</summary>
    internal const int LastCylinder = 83;

    /// <summary>Where the head is.</summary>
    internal int Cylinder { get; set; }

    /// <summary>True after the diskette was changed, until the head is moved with one in the drive (the DSKCHG line).</summary>
    internal bool IsChanged { get; set; } = true;

    /// <summary>The diskette; null for none.</summary>
    internal IBlockBackend? Medium { get; private set; }

    /// <summary>How it is divided.</summary>
    internal FloppyGeometry Geometry { get; private set; } = FloppyGeometry.Usual;

    /// <summary>Puts another diskette in.</summary>
    /// <param name="medium">A diskette of a size that <see cref="FloppyGeometry.Find"/> knows; null for none.</param>
    internal void Insert(IBlockBackend? medium)
    {
        if (medium is not null)
        {
            Geometry = FloppyGeometry.Find(medium.Length)
                ?? throw new ArgumentOutOfRangeException(nameof(medium), medium.Length, "no diskette has so many bytes");
        }

        Medium = medium;
        IsChanged = true;
    }

    /// <summary>The byte where a sector begins; null for one that isn't on the track.</summary>
    internal ulong? Find(int cylinder, int head, int sector) =>
        cylinder == Cylinder && cylinder < Geometry.Cylinders && head < Geometry.Heads && sector >= 1 && sector <= Geometry.Sectors
            ? (ulong)((((cylinder * Geometry.Heads) + head) * Geometry.Sectors) + sector - 1) * FloppyGeometry.SectorSize
            : null;
}
