using System.Text;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Firmware;

/// <summary>Builds the SMBIOS structures (DMTF DSP0134 3.0) and both entry points.</summary>
internal static class SmbiosTables
{
    private const string Maker = "Doppel";
    private const int Unknown = 2;
    private const int MemoryArrayHandle = 0x1000;

    /// <summary>Adds structures and entry points to an area.</summary>
    /// <returns>Address of the 64-bit entry point.</returns>
    internal static ulong Write(TableArea area, GuestMemory memory, MachineLayout layout, out ulong entry32)
    {
        List<byte[]> structures = Structures(memory, layout);
        byte[] table = [.. structures.SelectMany(s => s)];
        ulong entry64 = area.Reserve(24);
        entry32 = area.Reserve(31);
        ulong address = area.Add(table);
        area.Fill(entry64, Entry64(address, table.Length));
        area.Fill(entry32, Entry32(address, table.Length, structures));
        return entry64;
    }

    /// <summary>The structures, and an entry point whose address firmware enters.</summary>
    internal static (byte[] Structures, byte[] Anchor) Make(GuestMemory memory, MachineLayout layout)
    {
        List<byte[]> structures = Structures(memory, layout);
        byte[] table = [.. structures.SelectMany(s => s)];
        return (table, Entry32(0, table.Length, structures));
    }

    private static List<byte[]> Structures(GuestMemory memory, MachineLayout layout)
    {
        List<byte[]> structures =
        [
            Firmware(layout),
            System(layout),
            Chassis(layout),
            Processor(layout),
            MemoryArray(memory.RamSize),
            MemoryDevice(memory.RamSize),
            MappedAddress(0x1300, 0, memory.LowRamSize),
        ];
        if (memory.HighRamSize != 0)
            structures.Add(MappedAddress(0x1301, GuestMemory.HighRamStart, memory.HighRamSize));
        structures.Add(Structure(32, 0x2000, t => t.Zeros(6).U8(0)));
        structures.Add(Structure(127, 0x7F00, t => t));
        return structures;
    }

    private static byte[] Entry64(ulong table, int length) => new TableWriter()
        .Text("_SM3_", 5).U8(0).U8(24).U8(3).U8(0).U8(0).U8(1).U8(0).U32((uint)length).U64(table)
        .Checksum(5, 0, 24)
        .ToArray();

    private static byte[] Entry32(ulong table, int length, List<byte[]> structures) => new TableWriter()
        .Text("_SM_", 4).U8(0).U8(31).U8(2).U8(8).U16(structures.Max(s => s.Length)).U8(0).Zeros(5)
        .Text("_DMI_", 5).U8(0).U16(length).U32((uint)table).U16(structures.Count).U8(0x28)
        .Checksum(21, 16, 15)
        .Checksum(4, 0, 31)
        .ToArray();

    private static byte[] Firmware(MachineLayout layout)
    {
        // Characteristics: PCI is supported; extension 1: ACPI; extension 2: a virtual machine.
        const ulong Pci = 1 << 7;
        return Structure(0, 0, t => t.U8(1).U8(2).U16(0xE000).U8(3).U8(1).U64(Pci).U8(1).U8(1 << 4).U8(1).U8(0).U8(0xFF).U8(0xFF),
            Maker, layout.Version, "01/01/2025");
    }

    private static byte[] System(MachineLayout layout)
    {
        const int PowerSwitch = 6;
        // The first three fields of a UUID are little-endian in SMBIOS, as in .NET.
        return Structure(1, 0x100, t => t.U8(1).U8(2).U8(3).U8(layout.SerialNumber.Length == 0 ? 0 : 4).Raw(layout.Uuid.ToByteArray()).U8(PowerSwitch).U8(0).U8(0),
            layout.SerialNumber.Length == 0 ? [Maker, "Virtual Machine", layout.Version] : [Maker, "Virtual Machine", layout.Version, layout.SerialNumber]);
    }

    private static byte[] Chassis(MachineLayout layout)
    {
        const int Other = 1, Safe = 3;
        return Structure(3, 0x300, t => t.U8(1).U8(Other).U8(2).U8(0).U8(0).U8(Safe).U8(Safe).U8(Safe).U8(Unknown).U32(0).U8(0).U8(0).U8(0).U8(0).U8(0),
            Maker, layout.Version);
    }

    private static byte[] Processor(MachineLayout layout)
    {
        const int Central = 3, Other = 1, Enabled = 0x41, None = 0xFFFF;
        int count = Math.Min(layout.CpuCount, 255);
        return Structure(4, 0x400, t => t
                .U8(1).U8(Central).U8(Other).U8(2).U32(layout.CpuSignature).U32(layout.CpuFeatures).U8(3).U8(0)
                .U16(0).U16(layout.CpuMegahertz).U16(layout.CpuMegahertz).U8(Enabled).U8(Other)
                .U16(None).U16(None).U16(None).U8(0).U8(0).U8(0)
                .U8(count).U8(count).U8(count).U16(1 << 2).U16(Other).U16(count).U16(count).U16(count),
            "CPU 0", Maker, layout.CpuName);
    }

    private static byte[] MemoryArray(ulong ramSize)
    {
        const int Other = 1, SystemMemory = 3, MultiBitEcc = 6, NoErrorInformation = 0xFFFE;
        ulong kilobytes = ramSize >> 10;
        bool isLarge = kilobytes >= 0x8000_0000;
        return Structure(16, MemoryArrayHandle, t => t
            .U8(Other).U8(SystemMemory).U8(MultiBitEcc).U32(isLarge ? 0x8000_0000 : (uint)kilobytes)
            .U16(NoErrorInformation).U16(1).U64(isLarge ? ramSize : 0));
    }

    private static byte[] MemoryDevice(ulong ramSize)
    {
        const int NoErrorInformation = 0xFFFE, Dimm = 9, Ram = 7, UseExtendedSize = 0x7FFF;
        ulong megabytes = ramSize >> 20;
        // Sizes below one mebibyte, or with a fraction of one, are given in kibibytes (bit 15).
        bool inKilobytes = ramSize % (1 << 20) != 0 && ramSize >> 10 < 0x8000;
        bool isLarge = !inKilobytes && megabytes >= UseExtendedSize;
        int size = inKilobytes ? 0x8000 | (int)(ramSize >> 10) : isLarge ? UseExtendedSize : (int)megabytes;
        return Structure(17, 0x1100, t => t
                .U16(MemoryArrayHandle).U16(NoErrorInformation).U16(0xFFFF).U16(0xFFFF).U16(size).U8(Dimm).U8(0).U8(1).U8(0)
                .U8(Ram).U16(1 << 1).U16(0).U8(2).U8(0).U8(0).U8(0).U8(0).U32(isLarge ? (uint)megabytes : 0).U16(0).U16(0).U16(0).U16(0),
            "DIMM 0", Maker);
    }

    private static byte[] MappedAddress(int handle, ulong start, ulong length) => Structure(19, handle, t => t
        .U32((uint)(start >> 10)).U32((uint)(((start + length) >> 10) - 1)).U16(MemoryArrayHandle).U8(1).U64(0).U64(0));

    // The formatted part (its length counts the header), then the strings, each with its zero, and one more zero.
    private static byte[] Structure(int type, int handle, Func<TableWriter, TableWriter> fields, params string[] strings)
    {
        byte[] body = fields(new TableWriter()).ToArray();
        TableWriter t = new TableWriter().U8(type).U8(body.Length + 4).U16(handle).Raw(body);
        foreach (string text in strings)
            _ = t.Raw(Encoding.ASCII.GetBytes(text)).U8(0);
        return t.Zeros(strings.Length == 0 ? 2 : 1).ToArray();
    }
}
