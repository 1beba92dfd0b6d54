using Doppel.Machine.Bus;

namespace Doppel.Devices;

/// <summary>
/// A region of byte-wide registers: a wider access becomes one access a byte, lowest address first, as the ISA bridge
/// makes of it. Bytes beyond the end read as FFh.
/// </summary>
/// <param name="name">Name for traces.</param>
/// <param name="length">Number of registers.</param>
/// <param name="read">Reads the register at an offset below <paramref name="length"/>.</param>
/// <param name="write">Writes the register at an offset below <paramref name="length"/>.</param>
public sealed class BytePorts(string name, int length, Func<int, byte> read, Action<int, byte> write) : IIoRegion
{
    /// <inheritdoc/>
    public string Name => name;

    /// <summary>Number of registers.</summary>
    public int Length => length;

    /// <inheritdoc/>
    public ulong Read(ulong offset, int size)
    {
        if (size == 1)
            return offset < (ulong)length ? read((int)offset) : 0xFFu;
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            ulong part = at < (ulong)length ? read((int)at) : 0xFFu;
            value |= part << (8 * i);
        }

        return value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, int size, ulong value)
    {
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            if (at < (ulong)length)
                write((int)at, (byte)(value >> (8 * i)));
        }
    }
}
