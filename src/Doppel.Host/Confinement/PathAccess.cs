namespace Doppel.Host.Confinement;

/// <summary>What a confined process may do with files (landlock(7), "Filesystem flags").</summary>
[Flags]
public enum PathAccess : ulong
{
    /// <summary>Start it as a program.</summary>
    Execute = 1,

    /// <summary>Open it for writing.</summary>
    WriteFile = 1 << 1,

    /// <summary>Open it for reading.</summary>
    ReadFile = 1 << 2,

    /// <summary>List a directory.</summary>
    ReadDirectory = 1 << 3,

    /// <summary>Remove a directory in it.</summary>
    RemoveDirectory = 1 << 4,

    /// <summary>Remove a file in it.</summary>
    RemoveFile = 1 << 5,

    /// <summary>Make a character device in it.</summary>
    MakeCharacterDevice = 1 << 6,

    /// <summary>Make a directory in it.</summary>
    MakeDirectory = 1 << 7,

    /// <summary>Make a file in it.</summary>
    MakeFile = 1 << 8,

    /// <summary>Make a socket in it.</summary>
    MakeSocket = 1 << 9,

    /// <summary>Make a FIFO in it.</summary>
    MakeFifo = 1 << 10,

    /// <summary>Make a block device in it.</summary>
    MakeBlockDevice = 1 << 11,

    /// <summary>Make a symbolic link in it.</summary>
    MakeSymbolicLink = 1 << 12,

    /// <summary>Link or rename to and from another directory.</summary>
    Refer = 1 << 13,

    /// <summary>Cut it off.</summary>
    Truncate = 1 << 14,

    /// <summary>Use ioctl(2) on a device.</summary>
    Control = 1 << 15,

    /// <summary>Read files and directories.</summary>
    Read = ReadFile | ReadDirectory,

    /// <summary>All that can be done with a file that is there.</summary>
    UseFile = ReadFile | WriteFile | Truncate,

    /// <summary>All that can be done in a directory, but for starting programs, making devices and ioctl(2).</summary>
    UseDirectory = Read | WriteFile | Truncate | RemoveDirectory | RemoveFile | MakeDirectory | MakeFile | MakeSocket | MakeFifo | MakeSymbolicLink | Refer,
}
