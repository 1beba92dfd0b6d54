using System.Diagnostics.CodeAnalysis;

namespace Doppel.Vmm;

/// <summary>A folder of the host that a machine's guest sees, by virtio-fs.</summary>
public sealed record VolumeSpec
{
    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "HOST:GUEST[:ro]";

    /// <summary>Path of the folder on the host.</summary>
    public required string HostPath { get; init; }

    /// <summary>
    /// Where the guest is asked to mount it: an absolute path other than /, of printable characters without blanks, colons and
    /// quotation marks. The guest learns of it by <see cref="KernelParameter"/>.
    /// </summary>
    public required string GuestPath { get; init; }

    /// <summary>True when the guest can change nothing.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>The tag by which the guest mounts the volume with a number, counted from zero.</summary>
    public static string Tag(int number) => FormattableString.Invariant($"doppel{number}");

    /// <summary>What the kernel's command line says of the volume with a number: the default guest mounts what it finds there.</summary>
    public string KernelParameter(int number) => $"doppel.volume={Tag(number)}:{GuestPath}{(IsReadOnly ? ":ro" : "")}";

    /// <summary>True when the guest can be asked to mount something at a path.</summary>
    public static bool IsGuestPath(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        // What the kernel's command line can't carry, or a script would have to quote, is no mount point.
        return path.StartsWith('/') && path.Trim('/').Length != 0 && !path.Any(c => char.IsWhiteSpace(c) || char.IsControl(c) || c is ':' or '"' or '\'' or '\\')
            && !path.Split('/').Contains("..");
    }

    /// <summary>Reads what a user writes: the host's path, a colon, the guest's path, and perhaps :ro. The host's path may have colons.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out VolumeSpec? volume)
    {
        ArgumentNullException.ThrowIfNull(text);
        volume = null;
        string rest = text;
        bool isReadOnly = rest.EndsWith(":ro", StringComparison.Ordinal);
        if (isReadOnly || rest.EndsWith(":rw", StringComparison.Ordinal))
            rest = rest[..^3];
        int colon = rest.LastIndexOf(':');
        if (colon <= 0 || !IsGuestPath(rest[(colon + 1)..]))
            return false;
        volume = new VolumeSpec { HostPath = rest[..colon], GuestPath = rest[(colon + 1)..], IsReadOnly = isReadOnly };
        return true;
    }
}
