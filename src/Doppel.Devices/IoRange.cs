using Doppel.Machine.Bus;

namespace Doppel.Devices;

/// <summary>Where a region of a device answers on its bus.</summary>
/// <param name="Start">First address.</param>
/// <param name="Length">Number of addresses, at least 1.</param>
/// <param name="Region">What answers.</param>
public readonly record struct IoRange(ulong Start, ulong Length, IIoRegion Region);
