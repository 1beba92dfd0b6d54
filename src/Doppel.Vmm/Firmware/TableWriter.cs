using System.Buffers.Binary;
using System.Text;

namespace Doppel.Vmm.Firmware;

/// <summary>Builds one table, little-endian. Not thread-safe.</summary>
internal sealed class TableWriter
{
    private readonly List<byte> _bytes = [];

    internal int Length => _bytes.Count;

    internal byte[] ToArray() => [.. _bytes];

    internal TableWriter U8(int value) => Add((ulong)value, 1);

    internal TableWriter U16(int value) => Add((ulong)value, 2);

    internal TableWriter U32(uint value) => Add(value, 4);

    internal TableWriter U64(ulong value) => Add(value, 8);

    /// <summary>ASCII, padded with a filler to a fixed length.</summary>
    internal TableWriter Text(string text, int length, char filler = ' ')
    {
        _bytes.AddRange(Encoding.ASCII.GetBytes(text.PadRight(length, filler)[..length]));
        return this;
    }

    internal TableWriter Raw(ReadOnlySpan<byte> bytes)
    {
        _bytes.AddRange(bytes);
        return this;
    }

    internal TableWriter Zeros(int count) => Raw(new byte[count]);

    /// <summary>Overwrites four bytes.</summary>
    internal TableWriter PatchU32(int offset, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        for (int i = 0; i < 4; i++)
            _bytes[offset + i] = bytes[i];
        return this;
    }

    /// <summary>Sets a byte so that the sum of a range is zero modulo 256.</summary>
    internal TableWriter Checksum(int at, int start, int length)
    {
        _bytes[at] = 0;
        byte sum = 0;
        for (int i = 0; i < length; i++)
            sum += _bytes[start + i];
        _bytes[at] = (byte)-sum;
        return this;
    }

    private TableWriter Add(ulong value, int size)
    {
        for (int i = 0; i < size; i++)
            _bytes.Add((byte)(value >> (8 * i)));
        return this;
    }
}
