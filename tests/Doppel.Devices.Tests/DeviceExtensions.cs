using Doppel.Machine.Bus;

namespace Doppel.Devices.Tests;

/// <summary>Port accesses to a device without a bus.</summary>
public static class DeviceExtensions
{
    public static byte In(this IDevice device, int port) => (byte)Find(device, port).Read((ulong)port - Start(device, port), 1);

    public static uint In32(this IDevice device, int port) => (uint)Find(device, port).Read((ulong)port - Start(device, port), 4);

    public static void Out(this IDevice device, int port, int value) =>
        Find(device, port).Write((ulong)port - Start(device, port), 1, (byte)value);

    public static void Out32(this IDevice device, int port, uint value) =>
        Find(device, port).Write((ulong)port - Start(device, port), 4, value);

    private static IIoRegion Find(IDevice device, int port) => Range(device, port).Region;

    private static ulong Start(IDevice device, int port) => Range(device, port).Start;

    private static IoRange Range(IDevice device, int port) =>
        device.Ports.Single(r => (ulong)port >= r.Start && (ulong)port < r.Start + r.Length);
}
