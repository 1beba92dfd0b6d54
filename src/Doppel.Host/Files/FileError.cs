namespace Doppel.Host.Files;

/// <summary>What a <see cref="HostException"/> of a file means, for those who must tell errors apart.</summary>
public static class FileError
{
    /// <summary>The host has no room: the file system is full, or the user's quota is used up.</summary>
    public static bool IsFull(HostException exception) => Errno(exception) is FileFlags.NoSpace or FileFlags.QuotaExceeded;

    /// <summary>There is no such file.</summary>
    public static bool IsMissing(HostException exception) => Errno(exception) == FileFlags.NoEntry;

    /// <summary>The user may not.</summary>
    public static bool IsDenied(HostException exception) => Errno(exception) == FileFlags.Access;

    /// <summary>There already is such a file.</summary>
    public static bool IsPresent(HostException exception) => Errno(exception) == FileFlags.Exists;

    private static int Errno(HostException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return exception.Errno;
    }
}
