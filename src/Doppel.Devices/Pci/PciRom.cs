using Doppel.Machine.Bus;

namespace Doppel.Devices.Pci;

/// <summary>The bytes of an expansion ROM; zeros behind its image. Writes are ignored.</summary>
/// <param name="name">Name for traces.</param>
/// <param name="image">The image.</param>
internal sealed class PciRom(string name, ReadOnlyMemory<byte> image) : IIoRegion
{
    public string Name => name;

    public ulong Read(ulong offset, int size)
    {
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            if (at < (ulong)image.Length)
                value |= (ulong)image.Span[(int)at] << (8 * i);
        }

        return value;
    }

    public void Write(ulong offset, int size, ulong value)
    {
    }
}
