using Doppel.Machine.Bus;

namespace Doppel.Devices.Display.Vga;

/// <summary>
/// A page of memory with the registers of a VGA that has the Bochs extensions, as adapters of QEMU have it (QEMU
/// docs/specs/standard-vga.rst): VGA's of 3C0h to 3DFh at 400h, the extensions' at 500h, the byte order at 604h.
/// </summary>
internal sealed class VgaRegisterWindow(VgaController vga) : IIoRegion
{
    private const ulong VgaStart = 0x400, VgaEnd = 0x420, VbeStart = 0x500, VbeEnd = VbeStart + (2 * BochsVbe.RegisterCount), Extended = 0x600;

    public string Name => "vga-registers";

    public ulong Read(ulong offset, int size)
    {
        if (offset is >= VbeStart and < VbeEnd && size == 2 && (offset & 1) == 0)
            return vga.ReadVbe((int)(offset - VbeStart) / 2);
        if (offset == Extended && size == 4)
            return 8;
        if (offset == Extended + 4 && size == 4)
            return LittleEndian;
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            value |= (at is >= VgaStart and < VgaEnd ? vga.ReadPort(0x3C0 + (int)(at - VgaStart)) : 0ul) << (8 * i);
        }

        return value;
    }

    public void Write(ulong offset, int size, ulong value)
    {
        if (offset is >= VbeStart and < VbeEnd)
        {
            if (size == 2 && (offset & 1) == 0)
                vga.WriteVbe((int)(offset - VbeStart) / 2, (ushort)value);
            return;
        }

        for (int i = 0; i < size; i++)
        {
            ulong at = offset + (uint)i;
            if (at is >= VgaStart and < VgaEnd)
                vga.WritePort(0x3C0 + (int)(at - VgaStart), (byte)(value >> (8 * i)));
        }
    }

    private const ulong LittleEndian = 0x1E1E1E1E;
}
