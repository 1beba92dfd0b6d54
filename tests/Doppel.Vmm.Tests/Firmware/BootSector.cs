using Iced.Intel;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>A diskette of 1.44 MB whose boot sector is a program at 0000:7C00.</summary>
internal static class BootSector
{
    /// <summary>Powers off by ACPI's register where SeaBIOS places it.</summary>
    internal static void PowerOff(Assembler c)
    {
        c.mov(AssemblerRegisters.dx, 0x604);
        c.mov(AssemblerRegisters.ax, 0x3400);
        c.@out(AssemblerRegisters.dx, AssemblerRegisters.ax);
        c.hlt();
    }

    /// <summary>Writes the image.</summary>
    /// <param name="path">Where to.</param>
    /// <param name="write">Writes the program; DS is 0.</param>
    internal static void Write(string path, Action<Assembler> write)
    {
        var c = new Assembler(16);
        c.xor(AssemblerRegisters.ax, AssemblerRegisters.ax);
        c.mov(AssemblerRegisters.ds, AssemblerRegisters.ax);
        c.cld();
        write(c);
        using var code = new MemoryStream();
        _ = c.Assemble(new StreamCodeWriter(code), 0x7C00);
        Assert.InRange(code.Length, 1, 510);
        var image = new byte[1440 << 10];
        code.ToArray().CopyTo(image, 0);
        (image[510], image[511]) = (0x55, 0xAA);
        File.WriteAllBytes(path, image);
    }
}
