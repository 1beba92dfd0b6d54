namespace Doppel.Devices.Tests.Conformance;

/// <summary>A device with everything that it is wired to.</summary>
public sealed class DeviceUnderTest
{
    public required IDevice Device { get; init; }

    public required FakeClock Clock { get; init; }

    public List<FakeLine> Lines { get; init; } = [];

    public List<IoRange> Extra { get; init; } = [];

    /// <summary>Drives the device from outside (input, wires) by a random number.</summary>
    public Action<int>? Stimulate { get; init; }

    public IEnumerable<IoRange> Regions => [.. Device.Ports, .. Device.Memory, .. Extra];
}
