using Doppel.Vmm;

namespace Doppel.Cli.Commands;

/// <summary>A guest from an image, ready to be run.</summary>
/// <param name="Spec">The machine.</param>
/// <param name="TemporarySeed">Path of a file that is deleted once the machine has opened it; null for none.</param>
internal sealed record PreparedGuest(MachineSpec Spec, string? TemporarySeed);
