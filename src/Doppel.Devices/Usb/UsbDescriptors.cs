using System.Buffers.Binary;
using System.Text;

namespace Doppel.Devices.Usb;

/// <summary>What a device says of itself (USB 2.0, 9.6).</summary>
/// <param name="Device">The device descriptor.</param>
/// <param name="Configuration">The one configuration with all that belongs to it; its value is 1.</param>
/// <param name="Strings">The strings from number 1 on, in US English.</param>
internal sealed record UsbDescriptors(byte[] Device, byte[] Configuration, IReadOnlyList<string> Strings)
{
    private const byte DeviceType = 1, ConfigurationType = 2, StringType = 3;
    private const ushort UsEnglish = 0x0409;

    /// <summary>A device of USB 1.1 whose interfaces have their classes, with strings 1 to 3 for maker, product and serial number.</summary>
    internal static byte[] MakeDevice(ushort vendor, ushort product, byte packetSize)
    {
        byte[] descriptor = [18, DeviceType, 0x10, 0x01, 0, 0, 0, packetSize, 0, 0, 0, 0, 0, 0, 1, 2, 3, 1];
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(8), vendor);
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(10), product);
        return descriptor;
    }

    /// <summary>A configuration of one interface that draws 100 mA from the bus and may wake the host.</summary>
    internal static byte[] MakeConfiguration(ReadOnlySpan<byte> interfaces)
    {
        byte[] descriptor = [9, ConfigurationType, 0, 0, 1, 1, 0, 0xA0, 50, .. interfaces];
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor.AsSpan(2), (ushort)descriptor.Length);
        return descriptor;
    }

    /// <summary>A descriptor by type and number; null when there is none.</summary>
    internal byte[]? Find(int type, int number) => type switch
    {
        DeviceType when number == 0 => Device,
        ConfigurationType when number == 0 => Configuration,
        StringType when number == 0 => [4, StringType, UsEnglish & 0xFF, UsEnglish >> 8],
        StringType when number <= Strings.Count => [(byte)(2 + (2 * Strings[number - 1].Length)), StringType, .. Encoding.Unicode.GetBytes(Strings[number - 1])],
        _ => null,
    };
}
