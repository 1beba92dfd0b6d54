using System.Buffers.Binary;
using System.Text;

namespace Doppel.Vmm.Seeds;

/// <summary>
/// Writes a small ISO 9660 volume (ECMA-119, level 1) with files in its root directory, whose own names stand beside in
/// Rock Ridge entries (IEEE P1282; SUSP is IEEE P1281).
/// </summary>
public static class Iso9660Writer
{
    private const int SectorSize = 2048;
    private const int DescriptorSector = 16, TerminatorSector = 17, LittleTableSector = 18, BigTableSector = 19, RootSector = 20;
    private const uint FileMode = 0x8124, DirectoryMode = 0x416D;
    private const int LongestName = 100;

    /// <summary>Writes a volume.</summary>
    /// <param name="stream">Where to; from its position on.</param>
    /// <param name="volume">The volume's identifier: at most 32 characters.</param>
    /// <param name="files">The files: names of 1 to 100 ASCII characters, and contents.</param>
    /// <param name="time">The time that everything bears.</param>
    /// <exception cref="ArgumentException">A name can't be.</exception>
    public static void Write(Stream stream, string volume, IReadOnlyList<(string Name, byte[] Content)> files, DateTimeOffset time)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(files);
        if (volume.Length is 0 or > 32 || !Ascii.IsValid(volume))
            throw new ArgumentException($"\"{volume}\" is no volume identifier: 1 to 32 ASCII characters would be right", nameof(volume));
        if (files.FirstOrDefault(f => f.Name.Length is 0 or > LongestName || !Ascii.IsValid(f.Name) || f.Name.Contains('/', StringComparison.Ordinal)) is { Name: string wrong })
            throw new ArgumentException($"\"{wrong}\" is no file name", nameof(files));
        time = time.ToUniversalTime();
        List<(string Short, string Name, byte[] Content)> entries = [.. ShortNames(files).OrderBy(f => f.Short, StringComparer.Ordinal)];
        // Where a file lies is known when the directory's size is, and that doesn't depend on it.
        int rootLength = Root(entries, 0, 0, time).Length;
        byte[] root = Root(entries, RootSector + (rootLength / SectorSize), rootLength, time);
        long sectors = RootSector + (rootLength / SectorSize) + entries.Sum(f => Sectors(f.Content.Length));

        stream.Write(new byte[DescriptorSector * SectorSize]);
        stream.Write(Descriptor(volume, (uint)sectors, rootLength, time));
        stream.Write(Sector([255, .. "CD001"u8, 1]));
        stream.Write(Sector([1, 0, RootSector, 0, 0, 0, 1, 0, 0]));
        stream.Write(Sector([1, 0, 0, 0, 0, RootSector, 0, 1, 0]));
        stream.Write(root);
        foreach ((_, _, byte[] content) in entries)
        {
            stream.Write(content);
            stream.Write(new byte[(Sectors(content.Length) * SectorSize) - content.Length]);
        }
    }

    private static int Sectors(int length) => (length + SectorSize - 1) / SectorSize;

    private static byte[] Sector(ReadOnlySpan<byte> content)
    {
        byte[] sector = new byte[SectorSize];
        content.CopyTo(sector);
        return sector;
    }

    // Eight characters and three of A-Z, 0-9 and _; a number keeps them apart.
    private static IEnumerable<(string Short, string Name, byte[] Content)> ShortNames(IReadOnlyList<(string Name, byte[] Content)> files)
    {
        for (int i = 0; i < files.Count; i++)
        {
            string plain = new([.. files[i].Name.ToUpperInvariant().Select(c => c is (>= 'A' and <= 'Z') or (>= '0' and <= '9') ? c : '_').Take(5)]);
            yield return ($"{plain}{i:000}.;1", files[i].Name, files[i].Content);
        }
    }

    private static byte[] Descriptor(string volume, uint sectors, int rootLength, DateTimeOffset time)
    {
        byte[] d = new byte[SectorSize];
        d[0] = 1;
        "CD001"u8.CopyTo(d.AsSpan(1));
        d[6] = 1;
        d.AsSpan(8, 64).Fill((byte)' ');
        _ = Encoding.ASCII.GetBytes(volume, d.AsSpan(40));
        Both32(d.AsSpan(80), sectors);
        Both16(d.AsSpan(120), 1);
        Both16(d.AsSpan(124), 1);
        Both16(d.AsSpan(128), SectorSize);
        Both32(d.AsSpan(132), 10);
        BinaryPrimitives.WriteUInt32LittleEndian(d.AsSpan(140), LittleTableSector);
        BinaryPrimitives.WriteUInt32BigEndian(d.AsSpan(148), BigTableSector);
        Record([0], RootSector, rootLength, isDirectory: true, time, []).CopyTo(d.AsSpan(156));
        d.AsSpan(190, 623).Fill((byte)' ');
        string stamp = time.ToString("yyyyMMddHHmmss", System.Globalization.CultureInfo.InvariantCulture) + "00";
        foreach (int at in (int[])[813, 830])
            _ = Encoding.ASCII.GetBytes(stamp, d.AsSpan(at));
        foreach (int at in (int[])[847, 864])
            d.AsSpan(at, 16).Fill((byte)'0');
        d[881] = 1;
        return d;
    }

    private static byte[] Root(List<(string Short, string Name, byte[] Content)> entries, int firstSector, int length, DateTimeOffset time)
    {
        byte[] sharing = [(byte)'S', (byte)'P', 7, 1, 0xBE, 0xEF, 0];
        byte[] extension = [(byte)'E', (byte)'R', 18, 1, 10, 0, 0, 1, .. "RRIP_1991A"u8];
        byte[] attributes = Attributes(DirectoryMode, 2);
        List<byte[]> records =
        [
            Record([0], RootSector, length, isDirectory: true, time, [.. sharing, .. attributes, .. extension]),
            Record([1], RootSector, length, isDirectory: true, time, attributes),
        ];
        int sector = firstSector;
        foreach ((string shortName, string name, byte[] content) in entries)
        {
            byte[] rockRidge = [.. Attributes(FileMode, 1), (byte)'N', (byte)'M', (byte)(5 + name.Length), 1, 0, .. Encoding.ASCII.GetBytes(name)];
            records.Add(Record(Encoding.ASCII.GetBytes(shortName), sector, content.Length, isDirectory: false, time, rockRidge));
            sector += Sectors(content.Length);
        }

        using var directory = new MemoryStream();
        foreach (byte[] record in records)
        {
            // No record goes over the end of a sector.
            int room = SectorSize - (int)(directory.Length % SectorSize);
            if (record.Length > room)
                directory.Write(new byte[room]);
            directory.Write(record);
        }

        directory.SetLength(Sectors((int)directory.Length) * SectorSize);
        return directory.ToArray();
    }

    private static byte[] Record(ReadOnlySpan<byte> name, int sector, int length, bool isDirectory, DateTimeOffset time, ReadOnlySpan<byte> systemUse)
    {
        int nameLength = name.Length + (1 - (name.Length & 1));
        byte[] r = new byte[33 + nameLength + systemUse.Length + (systemUse.Length & 1)];
        r[0] = (byte)r.Length;
        Both32(r.AsSpan(2), (uint)sector);
        Both32(r.AsSpan(10), (uint)length);
        ReadOnlySpan<byte> date = [(byte)(time.Year - 1900), (byte)time.Month, (byte)time.Day, (byte)time.Hour, (byte)time.Minute, (byte)time.Second, 0];
        date.CopyTo(r.AsSpan(18));
        r[25] = (byte)(isDirectory ? 2 : 0);
        Both16(r.AsSpan(28), 1);
        r[32] = (byte)name.Length;
        name.CopyTo(r.AsSpan(33));
        systemUse.CopyTo(r.AsSpan(33 + nameLength));
        return r;
    }

    // Everything is root's, and everyone may read it.
    private static byte[] Attributes(uint mode, uint links)
    {
        byte[] px = new byte[36];
        px[0] = (byte)'P';
        px[1] = (byte)'X';
        px[2] = 36;
        px[3] = 1;
        Both32(px.AsSpan(4), mode);
        Both32(px.AsSpan(12), links);
        return px;
    }

    private static void Both16(Span<byte> at, ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(at, value);
        BinaryPrimitives.WriteUInt16BigEndian(at[2..], value);
    }

    private static void Both32(Span<byte> at, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, value);
        BinaryPrimitives.WriteUInt32BigEndian(at[4..], value);
    }
}
