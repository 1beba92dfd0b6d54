namespace Doppel.Devices.Storage.Images;

/// <summary>Where the bytes of a range come from.</summary>
public enum ExtentKind
{
    /// <summary>The image has them.</summary>
    Data,

    /// <summary>The image says that they are zeros, or has none and there is no backing image.</summary>
    Zero,

    /// <summary>The image has none; the backing image has.</summary>
    Backing,
}

/// <summary>A range of an image whose bytes come from one place.</summary>
/// <param name="Kind">From where.</param>
/// <param name="Length">Its bytes; at least 1.</param>
public readonly record struct ImageExtent(ExtentKind Kind, ulong Length);
