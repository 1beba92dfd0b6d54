namespace Doppel.Vmm.Snapshots;

/// <summary>A snapshot that can't be made, found or used; the message is one line that says why.</summary>
public sealed class SnapshotException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was given, what is wrong and what would be right.</param>
    /// <param name="section">The part that is damaged or doesn't fit: a section's name, "manifest" or "memory"; null when it is none.</param>
    /// <param name="inner">What it comes from.</param>
    public SnapshotException(string message, string? section = null, Exception? inner = null)
        : base(message, inner) => Section = section;

    /// <summary>The part that is damaged or doesn't fit; null when it is none.</summary>
    public string? Section { get; }
}
