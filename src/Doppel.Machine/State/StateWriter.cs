using System.Buffers;
using System.Buffers.Binary;

namespace Doppel.Machine.State;

/// <summary>Writes the values of one section, little-endian, without padding. Not thread-safe.</summary>
public sealed class StateWriter
{
    private readonly ArrayBufferWriter<byte> _buffer = new();

    /// <summary>What was written so far.</summary>
    public byte[] ToArray() => _buffer.WrittenSpan.ToArray();

    /// <summary>One byte: 0 or 1.</summary>
    public void Write(bool value) => Write(value ? 1u : 0u, 1);

    /// <summary>One byte.</summary>
    public void Write(byte value) => Write(value, 1);

    /// <summary>Two bytes.</summary>
    public void Write(ushort value) => Write((ulong)value, 2);

    /// <summary>Four bytes.</summary>
    public void Write(int value) => Write((uint)value, 4);

    /// <summary>Four bytes.</summary>
    public void Write(uint value) => Write(value, 4);

    /// <summary>Eight bytes.</summary>
    public void Write(long value) => Write((ulong)value, 8);

    /// <summary>Eight bytes.</summary>
    public void Write(ulong value) => Write(value, 8);

    /// <summary>A four-byte length and the bytes.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        Write(bytes.Length);
        _buffer.Write(bytes);
    }

    private void Write(ulong value, int size)
    {
        Span<byte> buffer = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(buffer, value);
        _buffer.Write(buffer[..size]);
    }
}
