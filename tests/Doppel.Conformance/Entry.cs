namespace Doppel.Conformance;

/// <summary>One section of unittests.cfg: a kernel and how to start it.</summary>
/// <param name="Name">The section's name.</param>
/// <param name="File">Name of the kernel, such as "apic.flat".</param>
/// <param name="Processors">Processors that the section asks for.</param>
/// <param name="Arguments">Arguments of the test.</param>
/// <param name="QemuOptions">Options for QEMU, split into words.</param>
/// <param name="Architecture">The only architecture it is for, or null.</param>
/// <param name="Timeout">How long it may take, or null for the default.</param>
/// <param name="Groups">Groups that it belongs to.</param>
/// <param name="Accelerator">The only accelerator of QEMU that it is for, or null.</param>
internal sealed record Entry(
    string Name,
    string File,
    int Processors,
    string Arguments,
    IReadOnlyList<string> QemuOptions,
    string? Architecture,
    TimeSpan? Timeout,
    IReadOnlyList<string> Groups,
    string? Accelerator)
{
    /// <summary>Value of an option such as "-cpu", or null.</summary>
    public string? Option(string name)
    {
        int at = QemuOptions.ToList().IndexOf(name);
        return at >= 0 && at + 1 < QemuOptions.Count ? QemuOptions[at + 1] : null;
    }
}
