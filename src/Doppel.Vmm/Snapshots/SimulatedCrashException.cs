namespace Doppel.Vmm.Snapshots;

/// <summary>Thrown by <see cref="SaveOptions.Step"/> in tests: nothing is cleaned up, as if the process had been killed.</summary>
internal sealed class SimulatedCrashException : Exception;
