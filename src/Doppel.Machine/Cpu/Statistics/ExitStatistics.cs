namespace Doppel.Machine.Cpu.Statistics;

/// <summary>How often an engine left the guest's code for one reason, and what that cost.</summary>
/// <param name="Reason">In a few words, for example "TLB miss".</param>
/// <param name="Count">How often.</param>
/// <param name="Seconds">Host time from leaving the guest's code to entering it again, estimated from samples.</param>
public sealed record ExitStatistics(string Reason, ulong Count, double Seconds);
