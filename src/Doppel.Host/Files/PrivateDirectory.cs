namespace Doppel.Host.Files;

/// <summary>Directories that belong to this user alone, also where everyone may create files.</summary>
public static class PrivateDirectory
{
    private const uint UserOnly = 0x1C0;
    private const uint SameGroup = uint.MaxValue;

    /// <summary>The user that this process acts as.</summary>
    public static uint UserId => LibC.GetEffectiveUser();

    /// <summary>
    /// Makes a directory, or takes the one that is there, and leaves it with this user as its owner and mode 0700. Its parent
    /// must exist and let nobody else rename this user's files (sticky, or the user's own).
    /// </summary>
    /// <exception cref="HostException">It can't be had: it is a symbolic link or a file, or another user's.</exception>
    public static void Ensure(string path)
    {
        try
        {
            _ = Directory.CreateDirectory(path, (UnixFileMode)UserOnly);
        }
        catch (IOException)
        {
            // What is in the way is named below.
        }

        // Owner and mode are set through the open directory, so that nothing can be put in its place meanwhile. Only
        // the owner may do either; for root the first makes it the owner.
        int fd = (int)HostError.Check(LibC.Open(path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec), "open", $"of the private directory {path}");
        try
        {
            _ = HostError.Check(LibC.FChown(fd, UserId, SameGroup), "fchown", $"of the private directory {path}");
            _ = HostError.Check(LibC.FChmod(fd, UserOnly), "fchmod", $"of the private directory {path}");
        }
        finally
        {
            _ = LibC.Close(fd);
        }
    }
}
