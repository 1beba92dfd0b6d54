using System.Text;

namespace Doppel.Vmm.Seeds;

/// <summary>
/// The seed that tells a guest its settings: a volume "cidata" as cloud-init's NoCloud data source wants it (cloud-init's
/// documentation, "NoCloud"), and in it the file "doppel" with the same for the image's own service, which needs no
/// Python: lines "hostname NAME", "user NAME" and "key LINE".
/// </summary>
public static class NoCloudSeed
{
    /// <summary>Identifier of the volume.</summary>
    public const string Volume = "cidata";

    /// <summary>Writes a seed in place of an older one.</summary>
    /// <param name="path">Its file, which only this user may read.</param>
    /// <param name="settings">The settings.</param>
    /// <param name="instance">Stays the same as long as the machine does.</param>
    public static void Write(string path, GuestSettings settings, Guid instance)
    {
        ArgumentNullException.ThrowIfNull(settings);
        settings.Validate();
        string temporary = path + ".new";
        var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite };
        using (var stream = new FileStream(temporary, options))
            Iso9660Writer.Write(stream, Volume, Files(settings, instance), DateTimeOffset.UtcNow);
        File.Move(temporary, path, overwrite: true);
    }

    /// <summary>The words that a guest's command line needs with this seed.</summary>
    public static string CommandLine(GuestSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        return settings.UserData is null ? "doppel.seed cloud-init=disabled" : "doppel.seed";
    }

    internal static IReadOnlyList<(string Name, byte[] Content)> Files(GuestSettings settings, Guid instance)
    {
        var meta = new StringBuilder($"instance-id: {instance:D}\nlocal-hostname: {settings.HostName}\n");
        var own = new StringBuilder($"hostname {settings.HostName}\n");
        if (settings.User is not null)
            _ = own.Append($"user {settings.User}\n");
        if (settings.Keys.Count != 0)
            _ = meta.Append("public-keys:\n");
        foreach (string key in settings.Keys)
        {
            _ = own.Append($"key {key}\n");
            // A scalar in single quotes, where a quote is doubled (YAML 1.2, 7.3.2).
            _ = meta.Append($"  - '{key.Replace("'", "''", StringComparison.Ordinal)}'\n");
        }

        return
        [
            ("doppel", Encoding.UTF8.GetBytes(own.ToString())),
            ("meta-data", Encoding.UTF8.GetBytes(meta.ToString())),
            ("user-data", settings.UserData ?? [.. "#cloud-config\n{}\n"u8]),
        ];
    }
}
