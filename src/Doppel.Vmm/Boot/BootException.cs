namespace Doppel.Vmm.Boot;

/// <summary>A kernel or initial RAM disk that can't be booted. The message is one line that names the file and what would be right.</summary>
public sealed class BootException : Exception
{
    /// <summary>Creates the exception.</summary>
    public BootException(BootError error, string message, Exception? inner = null)
        : base(message, inner) => Error = error;

    /// <summary>What is wrong.</summary>
    public BootError Error { get; }
}

/// <summary>What is wrong with a boot image.</summary>
public enum BootError
{
    /// <summary>The file does not exist or can't be read.</summary>
    Unreadable,

    /// <summary>No loader knows the format.</summary>
    NotAKernel,

    /// <summary>The file ends before its headers say.</summary>
    Truncated,

    /// <summary>A header holds a value that can't be.</summary>
    Malformed,

    /// <summary>A known format in a variant that isn't served.</summary>
    Unsupported,

    /// <summary>The kernel, the initial RAM disk or the command line doesn't fit.</summary>
    TooLarge,
}
