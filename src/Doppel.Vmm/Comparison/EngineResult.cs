namespace Doppel.Vmm.Comparison;

/// <summary>What one operation costs under one engine, without the loop around it.</summary>
/// <param name="Operation">The operation.</param>
/// <param name="Nanoseconds">Host time for one.</param>
/// <param name="Exits">How often the engine left the guest's code for one.</param>
/// <param name="InstructionsTranslated">Guest instructions that were translated or decoded for all of them.</param>
/// <param name="Count">How many were measured.</param>
public sealed record OperationResult(Nanobenchmark Operation, double Nanoseconds, double Exits, ulong InstructionsTranslated, uint Count);

/// <summary>What a guest of the user's costs under one engine, from its start to its end.</summary>
/// <param name="Seconds">Host time.</param>
/// <param name="Exits">How often the engine left the guest's code.</param>
/// <param name="InstructionsTranslated">Guest instructions that were translated or decoded.</param>
/// <param name="End">How it ended.</param>
public sealed record GuestResult(double Seconds, ulong Exits, ulong InstructionsTranslated, VmExitKind End);

/// <summary>One engine of a comparison.</summary>
/// <param name="Engine">Its name.</param>
/// <param name="Technique">What it is called in textbooks.</param>
/// <param name="Operations">The operations, in the order of <see cref="Nanobenchmark"/>; empty when the engine can't run here.</param>
/// <param name="Guest">The user's guest; null when none was given.</param>
/// <param name="Obstacle">Why the engine can't run here; null when it can.</param>
public sealed record EngineResult(string Engine, string Technique, IReadOnlyList<OperationResult> Operations, GuestResult? Guest, string? Obstacle)
{
    /// <summary>What a guest must be changed for it; nothing under any engine there is.</summary>
    public string GuestChanges { get; } = "none";
}
