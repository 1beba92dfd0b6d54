namespace Doppel.Host.Confinement;

/// <summary>A file or directory that a confined process may use, with all that is below it.</summary>
/// <param name="Path">Its path; one that isn't there is passed over.</param>
/// <param name="Access">How.</param>
public sealed record PathRule(string Path, PathAccess Access);
