using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Doppel.Devices.Virtio;

namespace Doppel.Vmm;

/// <summary>How programs of the host and of the guest reach each other by vsock.</summary>
public sealed record VsockSpec
{
    /// <summary>What <see cref="TryParse"/> takes.</summary>
    public const string Choices = "PATH[,cid=N]";

    /// <summary>Longest path, in bytes: the port of a socket beside it must fit too.</summary>
    public const int LongestPath = 96;

    /// <summary>Path of the Unix socket by which the host reaches the guest; PATH_N is the one by which the guest reaches port N of the host.</summary>
    public required string Path { get; init; }

    /// <summary>The guest's context id, at least <see cref="VirtioVsock.SmallestCid"/>.</summary>
    public uint Cid { get; init; } = VirtioVsock.SmallestCid;

    /// <summary>Reads what a user writes.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out VsockSpec? vsock)
    {
        ArgumentNullException.ThrowIfNull(text);
        vsock = null;
        string path = text;
        uint cid = VirtioVsock.SmallestCid;
        int comma = text.LastIndexOf(",cid=", StringComparison.Ordinal);
        if (comma >= 0)
        {
            path = text[..comma];
            if (!uint.TryParse(text[(comma + 5)..], NumberStyles.None, CultureInfo.InvariantCulture, out cid) || cid < VirtioVsock.SmallestCid || cid == uint.MaxValue)
                return false;
        }

        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal) || System.Text.Encoding.UTF8.GetByteCount(System.IO.Path.GetFullPath(path)) > LongestPath)
            return false;
        vsock = new VsockSpec { Path = path, Cid = cid };
        return true;
    }
}
