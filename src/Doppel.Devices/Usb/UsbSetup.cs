using System.Buffers.Binary;

namespace Doppel.Devices.Usb;

/// <summary>What a control transfer asks for (USB 2.0, 9.3).</summary>
/// <param name="Type">Direction (bit 7), type (bits 6 and 5) and recipient (bits 4 to 0).</param>
/// <param name="Request">The request's number.</param>
/// <param name="Value">Its first argument.</param>
/// <param name="Index">Its second argument.</param>
/// <param name="Length">Bytes of the data stage.</param>
public readonly record struct UsbSetup(byte Type, byte Request, ushort Value, ushort Index, ushort Length)
{
    /// <summary>Bytes of the packet.</summary>
    public const int Size = 8;

    /// <summary>True when the device sends the data.</summary>
    public bool IsIn => (Type & 0x80) != 0;

    /// <summary>Type and request as one number: the type in the upper byte.</summary>
    public int Code => (Type << 8) | Request;

    /// <summary>Reads the packet.</summary>
    /// <param name="packet">Its <see cref="Size"/> bytes.</param>
    public static UsbSetup Read(ReadOnlySpan<byte> packet) => new(
        packet[0], packet[1], BinaryPrimitives.ReadUInt16LittleEndian(packet[2..]), BinaryPrimitives.ReadUInt16LittleEndian(packet[4..]), BinaryPrimitives.ReadUInt16LittleEndian(packet[6..]));

    /// <summary>The packet.</summary>
    public byte[] ToBytes()
    {
        byte[] packet = [Type, Request, 0, 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(2), Value);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(4), Index);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(6), Length);
        return packet;
    }
}
