using System.Buffers;
using System.Buffers.Binary;

namespace Doppel.Devices.Display.Rfb;

/// <summary>A message that is being put together; numbers are big-endian, as all of RFB's.</summary>
internal sealed class RfbBuffer
{
    private readonly ArrayBufferWriter<byte> _writer = new();

    internal int Length => _writer.WrittenCount;

    internal ReadOnlyMemory<byte> Written => _writer.WrittenMemory;

    internal void Clear() => _writer.ResetWrittenCount();

    /// <summary>Appends room that the caller fills at once.</summary>
    internal Span<byte> Take(int count)
    {
        Span<byte> room = _writer.GetSpan(count)[..count];
        _writer.Advance(count);
        return room;
    }

    internal void WriteByte(byte value) => Take(1)[0] = value;

    internal void WriteUInt16(ushort value) => BinaryPrimitives.WriteUInt16BigEndian(Take(2), value);

    internal void WriteInt32(int value) => BinaryPrimitives.WriteInt32BigEndian(Take(4), value);

    internal void Write(ReadOnlySpan<byte> bytes) => _writer.Write(bytes);

    /// <summary>Appends the header of a rectangle.</summary>
    internal void WriteRectangle(PixelRectangle part, int encoding)
    {
        WriteUInt16((ushort)part.X);
        WriteUInt16((ushort)part.Y);
        WriteUInt16((ushort)part.Width);
        WriteUInt16((ushort)part.Height);
        WriteInt32(encoding);
    }
}
