namespace Doppel.Devices.Storage.Images;

/// <summary>How an image is opened.</summary>
public sealed record DiskOpenOptions
{
    /// <summary>The format; null to look at the file's beginning.</summary>
    public DiskFormat? Format { get; init; }

    /// <summary>True to read only.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>True to read although someone else may be writing; what is read may then not fit together.</summary>
    public bool IsShared { get; init; }

    /// <summary>True to leave backing images closed, for looking at the image itself.</summary>
    public bool IsWithoutBacking { get; init; }

    /// <summary>True to open an image as it is: not repaired if it wasn't closed, and although it is marked as damaged.</summary>
    public bool IsForCheck { get; init; }
}
