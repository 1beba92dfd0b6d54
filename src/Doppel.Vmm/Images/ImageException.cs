namespace Doppel.Vmm.Images;

/// <summary>An image that can't be had. The message is one line that says what to do.</summary>
public sealed class ImageException : Exception
{
    /// <summary>Creates the exception.</summary>
    public ImageException(ImageError error, string message, Exception? inner = null)
        : base(message, inner) => Error = error;

    /// <summary>What is wrong.</summary>
    public ImageError Error { get; }
}

/// <summary>Why an image can't be had.</summary>
public enum ImageError
{
    /// <summary>No image of this name, or it isn't in the cache.</summary>
    Unknown,

    /// <summary>The package source can't be reached or does not have the package.</summary>
    Network,

    /// <summary>A download has the wrong checksum or signature.</summary>
    Checksum,

    /// <summary>A package does not hold what it should.</summary>
    Content,

    /// <summary>A tool or right is missing on the host.</summary>
    Host,
}
