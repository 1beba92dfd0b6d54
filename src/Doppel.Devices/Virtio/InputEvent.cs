using System.Buffers.Binary;

namespace Doppel.Devices.Virtio;

/// <summary>An event of a virtio input device (virtio 1.2, 5.8.6), with evdev's types and codes (Linux include/uapi/linux/input-event-codes.h).</summary>
/// <param name="Type">Type.</param>
/// <param name="Code">Which key, axis or indicator.</param>
/// <param name="Value">1 for down or on, 0 for up or off; a place, or a number of steps.</param>
internal readonly record struct InputEvent(InputEventType Type, ushort Code, int Value)
{
    internal static InputEvent Read(ReadOnlySpan<byte> bytes) => new(
        (InputEventType)BinaryPrimitives.ReadUInt16LittleEndian(bytes),
        BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]),
        BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]));

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)Type);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[2..], Code);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], Value);
    }
}

/// <summary>Types of events.</summary>
internal enum InputEventType : ushort
{
    /// <summary>The end of an update.</summary>
    Synchronization = 0,

    /// <summary>A key or button.</summary>
    Key = 1,

    /// <summary>A movement.</summary>
    Relative = 2,

    /// <summary>A place.</summary>
    Absolute = 3,

    /// <summary>An indicator, from the driver.</summary>
    Led = 0x11,

    /// <summary>Repetition of held keys, which the driver does by itself.</summary>
    Repetition = 0x14,
}
