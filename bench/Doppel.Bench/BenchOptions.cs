using System.Globalization;

namespace Doppel.Bench;

/// <summary>What the user asked for.</summary>
internal sealed record BenchOptions(
    int Rounds,
    IReadOnlyList<string> Engines,
    IReadOnlyList<Row> Rows,
    string? Json,
    string Peer,
    bool Native,
    string? Kernel,
    string Memory,
    string Busybox,
    int Copies,
    IReadOnlyDictionary<string, double> Scale,
    int? Machines,
    Limits Limits)
{
    /// <summary>The word for all of <see cref="Row.Network"/>.</summary>
    public const string NetworkRows = "net";

    /// <summary>The word for all of <see cref="Row.Disk"/>.</summary>
    public const string DiskRows = "disk";

    /// <summary>The word for all of <see cref="Row.Switch"/>.</summary>
    public const string SwitchRows = "switch";

    /// <summary>True when machines need a partner on a switch.</summary>
    public bool NeedsSwitch => Rows.Any(Row.Switch.Contains);

    /// <summary>The word for all of <see cref="Row.Fio"/>.</summary>
    public const string FioRows = "fio";

    /// <summary>True when machines need fio and a disk for it.</summary>
    public bool NeedsFio => Rows.Any(Row.Fio.Contains);

    /// <summary>The word for all of <see cref="Row.Migration"/>.</summary>
    public const string MigrationRows = "migrate";

    /// <summary>The word for all of <see cref="Row.Screen"/>.</summary>
    public const string ScreenRows = "screen";

    /// <summary>The word for all of <see cref="Row.Bios"/>.</summary>
    public const string BiosRows = "bios";

    /// <summary>The word for all of <see cref="Row.Life"/>.</summary>
    public const string LifeRows = "life";

    /// <summary>True when machines need a network card.</summary>
    public bool NeedsNetwork => Rows.Any(Row.Network.Contains);

    /// <summary>True when machines need a disk.</summary>
    public bool NeedsDisk => Rows.Any(Row.Disk.Contains);

    /// <summary>Words between commas; none for "none".</summary>
    public static IReadOnlyList<string> List(string text) =>
        text == "none" ? [] : text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>The rows of these names, in the table's order. Throws <see cref="BenchException"/> for an unknown one.</summary>
    public static IReadOnlyList<Row> SelectRows(string text)
    {
        IReadOnlyList<string> names = List(text);
        if (names is ["all"])
        {
            return Row.All;
        }

        Row[] known = [.. Row.All, .. Row.Network, .. Row.Switch, .. Row.Disk, .. Row.Fio, Row.System, .. Row.Migration, .. Row.Screen, .. Row.Bios, .. Row.Life];
        string? unknown = names.FirstOrDefault(name => name is not (NetworkRows or SwitchRows or DiskRows or FioRows or MigrationRows or ScreenRows or BiosRows or LifeRows) && known.All(row => row.Name != name));
        return unknown is null
            ? [.. known.Where(row => names.Contains(row.Name)
                || (names.Contains(NetworkRows) && Row.Network.Contains(row)) || (names.Contains(SwitchRows) && Row.Switch.Contains(row)) || (names.Contains(DiskRows) && Row.Disk.Contains(row)) || (names.Contains(FioRows) && Row.Fio.Contains(row)) || (names.Contains(MigrationRows) && Row.Migration.Contains(row)) || (names.Contains(ScreenRows) && Row.Screen.Contains(row)) || (names.Contains(BiosRows) && Row.Bios.Contains(row)) || (names.Contains(LifeRows) && Row.Life.Contains(row)))]
            : throw new BenchException($"--rows: there is no row '{unknown}'; the rows are {string.Join(", ", known.Select(row => row.Name))}, and {NetworkRows}, {SwitchRows}, {DiskRows}, {FioRows}, {MigrationRows}, {ScreenRows}, {BiosRows} and {LifeRows} for all that begin so");
    }

    /// <summary>ENGINE=FACTOR pairs over the defaults. Throws <see cref="BenchException"/> for anything else.</summary>
    public static IReadOnlyDictionary<string, double> Scales(IEnumerable<string> pairs)
    {
        var scales = new Dictionary<string, double> { ["interpreter"] = 0.05 };
        foreach (string pair in pairs)
        {
            string[] parts = pair.Split('=');
            if (parts.Length != 2
                || !double.TryParse(parts[1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double factor)
                || factor is not (> 0 and <= 1))
            {
                throw new BenchException($"--scale: '{pair}' is not ENGINE=FACTOR with a factor above 0 and up to 1, such as interpreter=0.05");
            }

            scales[parts[0]] = factor;
        }

        return scales;
    }

    /// <summary>The factor of a contestant.</summary>
    public double ScaleOf(string contestant) => Scale.TryGetValue(contestant, out double factor) ? factor : 1;
}
