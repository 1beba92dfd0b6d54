namespace Doppel.Host.Files;

/// <summary>How a <see cref="HostFile"/> is opened.</summary>
public enum HostFileMode
{
    /// <summary>An existing file, to be read.</summary>
    Read,

    /// <summary>An existing file, to be read and written.</summary>
    ReadWrite,

    /// <summary>A new file; it is an error if there is one already.</summary>
    CreateNew,

    /// <summary>A new file without a name in the directory that the path names; it ends with its descriptor.</summary>
    Nameless,
}
