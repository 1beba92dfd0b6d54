using System.Buffers.Binary;

namespace Doppel.Machine.State;

/// <summary>Reads the values of one section in the order in which they were written. Not thread-safe.</summary>
public sealed class StateReader
{
    private readonly ReadOnlyMemory<byte> _data;
    private int _position;

    /// <summary>Reads from the bytes of a section.</summary>
    public StateReader(ReadOnlyMemory<byte> data) => _data = data;

    /// <summary>True when everything was read.</summary>
    public bool IsAtEnd => _position == _data.Length;

    /// <summary>One byte: 0 or 1.</summary>
    /// <exception cref="InvalidDataException">Another value, or the end.</exception>
    public bool ReadBool() => Take(1)[0] switch
    {
        0 => false,
        1 => true,
        byte other => throw new InvalidDataException($"a truth value is {other} at byte {_position - 1}; it must be 0 or 1"),
    };

    /// <summary>One byte.</summary>
    public byte ReadByte() => Take(1)[0];

    /// <summary>Two bytes.</summary>
    public ushort ReadUInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

    /// <summary>Four bytes.</summary>
    public int ReadInt32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    /// <summary>Four bytes.</summary>
    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

    /// <summary>Eight bytes.</summary>
    public long ReadInt64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    /// <summary>Eight bytes.</summary>
    public ulong ReadUInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    /// <summary>A four-byte length and the bytes.</summary>
    public byte[] ReadBytes(int maximum)
    {
        int length = ReadInt32();
        if (length < 0 || length > maximum)
            throw new InvalidDataException($"a block of {length} bytes at byte {_position - 4}; at most {maximum} are allowed");
        return Take(length).ToArray();
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > _data.Length - _position)
            throw new InvalidDataException($"the section ends at byte {_data.Length}; {count} more bytes were expected at {_position}");
        _position += count;
        return _data.Span.Slice(_position - count, count);
    }
}
