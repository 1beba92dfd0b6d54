using System.Text.RegularExpressions;

namespace Doppel.Vmm.Seeds;

/// <summary>What a guest is told when it boots.</summary>
public sealed partial record GuestSettings
{
    /// <summary>Host name.</summary>
    public required string HostName { get; init; }

    /// <summary>A user to make beside root, who may become root; null for none.</summary>
    public string? User { get; init; }

    /// <summary>Public SSH keys that open both accounts, as lines of authorized_keys.</summary>
    public IReadOnlyList<string> Keys { get; init; } = [];

    /// <summary>User data for cloud-init; null leaves cloud-init out.</summary>
    public byte[]? UserData { get; init; }

    /// <summary>Makes a host name of a machine's name.</summary>
    public static string HostNameOf(string machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        string name = new string([.. machine.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-')]).Trim('-');
        return name.Length == 0 ? "machine" : name[..Math.Min(name.Length, 63)].TrimEnd('-');
    }

    /// <summary>Reads public keys from a file such as ~/.ssh/id_ed25519.pub.</summary>
    /// <exception cref="SpecException">It can't be read, or has no such key.</exception>
    public static IReadOnlyList<string> ReadKeys(string path)
    {
        string[] lines = [.. ReadFile("ssh-key", path, File.ReadAllLines).Select(l => l.Trim()).Where(l => l.Length != 0 && !l.StartsWith('#'))];
        if (lines.Any(l => l.StartsWith("-----BEGIN", StringComparison.Ordinal)))
            throw new SpecException("ssh-key", $"--ssh-key {path}: that is a private key; {path}.pub would be right");
        if (lines.Length == 0 || lines.FirstOrDefault(l => !KeyLine().IsMatch(l)) is not null)
            throw new SpecException("ssh-key", $"--ssh-key {path}: no public SSH key; a file such as ~/.ssh/id_ed25519.pub would be right");
        return lines;
    }

    /// <summary>Reads user data for cloud-init.</summary>
    /// <exception cref="SpecException">It can't be read, or cloud-init wouldn't know it for any kind of user data.</exception>
    public static byte[] ReadUserData(string path)
    {
        byte[] data = ReadFile("cloud-init", path, File.ReadAllBytes);
        ReadOnlySpan<byte> zipped = [0x1F, 0x8B];
        bool isKnown = data.AsSpan().StartsWith("#"u8) || data.AsSpan().StartsWith(zipped)
            || data.AsSpan().StartsWith("Content-Type:"u8) || data.AsSpan().StartsWith("MIME-Version:"u8);
        return isKnown ? data : throw new SpecException("cloud-init", $"--cloud-init {path}: no user data of cloud-init; a file that begins with #cloud-config or #! would be right");
    }

    /// <summary>Checks host name and user.</summary>
    /// <exception cref="SpecException">One can't be.</exception>
    public void Validate()
    {
        if (!HostNameForm().IsMatch(HostName))
            throw new SpecException("hostname", $"--hostname \"{HostName}\": 1 to 63 letters, digits and dashes, not a dash at the ends, would be right");
        if (User is not null && !UserForm().IsMatch(User))
            throw new SpecException("user", $"--user \"{User}\": a small letter or _, then at most 31 small letters, digits, _ and -, would be right");
    }

    private static T ReadFile<T>(string option, string path, Func<string, T> read)
    {
        try
        {
            return read(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SpecException(option, $"--{option} {path}: the file can't be read: {e.Message}");
        }
    }

    [GeneratedRegex("^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+( .*)?$")]
    private static partial Regex KeyLine();

    [GeneratedRegex("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")]
    private static partial Regex HostNameForm();

    [GeneratedRegex("^[a-z_][a-z0-9_-]{0,31}$")]
    private static partial Regex UserForm();
}
