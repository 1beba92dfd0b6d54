namespace Doppel.Vmm.Images;

/// <summary>How far the making of an image is.</summary>
/// <param name="Step">What is being done, for example "downloading linux-image-6.1.0-1-cloud-amd64".</param>
/// <param name="Percent">0 to 100, or null when it isn't known.</param>
public readonly record struct ImageProgress(string Step, int? Percent);
