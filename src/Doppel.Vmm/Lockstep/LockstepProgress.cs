namespace Doppel.Vmm.Lockstep;

/// <summary>How far a comparison is.</summary>
/// <param name="Instructions">Instructions that both engines have retired.</param>
/// <param name="Phase">What is being done, for a person.</param>
public readonly record struct LockstepProgress(ulong Instructions, string Phase);
