namespace Doppel.Bench;

/// <summary>How long a machine may take before it is killed, on the host's clock.</summary>
/// <param name="Boot">From the start of the process to the guest's first process; also for the power-off at the end.</param>
/// <param name="Row">For one row.</param>
internal sealed record Limits(TimeSpan Boot, TimeSpan Row);
