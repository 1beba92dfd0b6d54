namespace Doppel.Host.Folders;

/// <summary>Numbers of errors (errno(3)) that callers of <see cref="FolderNode"/> tell apart or answer with; zero is none.</summary>
public static class FolderError
{
    /// <summary>EPERM: the user may not.</summary>
    public const int NotPermitted = 1;

    /// <summary>ENOENT: there is no such entry.</summary>
    public const int Missing = 2;

    /// <summary>EIO: reading or writing failed.</summary>
    public const int InputOutput = 5;

    /// <summary>EBADF: no such open file.</summary>
    public const int BadHandle = 9;

    /// <summary>EEXIST: there is such an entry.</summary>
    public const int Exists = 17;

    /// <summary>ENOTDIR: not a directory.</summary>
    public const int NotDirectory = 20;

    /// <summary>EISDIR: a directory.</summary>
    public const int IsDirectory = 21;

    /// <summary>EINVAL: what is asked for can't be.</summary>
    public const int Invalid = 22;

    /// <summary>ENFILE: too many files are known or open at once.</summary>
    public const int TooMany = 23;

    /// <summary>EROFS: nothing can be written here.</summary>
    public const int ReadOnly = 30;

    /// <summary>ERANGE: the answer is longer than there is room for.</summary>
    public const int Range = 34;

    /// <summary>ENAMETOOLONG.</summary>
    public const int NameTooLong = 36;

    /// <summary>ENOSYS: this is never answered.</summary>
    public const int NotImplemented = 38;

    /// <summary>ELOOP: a symbolic link where none is followed.</summary>
    public const int Link = 40;

    /// <summary>EPROTO: another protocol.</summary>
    public const int Protocol = 71;

    /// <summary>EOPNOTSUPP: not on this file.</summary>
    public const int NotSupported = 95;

    /// <summary>ESTALE: the file is not there any more.</summary>
    public const int Stale = 116;
}
