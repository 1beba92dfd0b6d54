using Doppel.Machine.Memory;

namespace Doppel.Devices;

/// <summary>What a device that reaches guest memory by itself is given of its machine.</summary>
/// <param name="Memory">The guest's memory, which the device reaches where its driver says.</param>
/// <param name="IoLock">The machine's I/O lock; the device takes it when a back end has completed something.</param>
/// <param name="Failed">Told of a fault of the device's own (no guest can cause one), so that the machine can end. Any thread.</param>
public sealed record DevicePlatform(GuestMemory Memory, Lock IoLock, Action<Exception> Failed)
{
    /// <summary>True when time is deterministic: the device then waits for its back end, so that each run is the same.</summary>
    public bool IsDeterministic { get; init; }
}
