namespace Doppel.Vmm.Limits;

/// <summary>What a machine's process has had of the host's processors since it began, over all its threads.</summary>
/// <param name="UsedSeconds">Processor time.</param>
/// <param name="WaitedSeconds">Time in which threads could run and none was free; 0 where the kernel doesn't say.</param>
/// <param name="ThrottledSeconds">Time in which its vCPUs stood still for a limit.</param>
public sealed record CpuUse(double UsedSeconds, double WaitedSeconds, double ThrottledSeconds);
