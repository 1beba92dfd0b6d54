using Doppel.Devices.Chipset;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Firmware;

/// <summary>Finds and reads the files of firmware.</summary>
internal static class FirmwareSearch
{
    /// <summary>Bytes of UEFI's flash, variables first, which end at 4 GiB.</summary>
    internal const int UefiLength = 4 << 20;

    /// <summary>Bytes of its variables.</summary>
    internal const int VariablesLength = 0x84000;

    private const string UefiCode = "OVMF_CODE_4M.fd", UefiVariables = "OVMF_VARS_4M.fd";

    /// <summary>Finds and reads what a machine needs.</summary>
    /// <exception cref="BootException">It isn't there, or can't be a ROM.</exception>
    internal static FirmwareFiles? Read(MachineSpec spec) => spec.Firmware switch
    {
        FirmwareKind.Bios when spec.FirmwareFile is string file => new FirmwareFiles(ReadRom(file), file),
        FirmwareKind.Bios => new FirmwareFiles(ReadRom(Path.Combine(Folder(FirmwareKind.Bios), "bios-256k.bin")), "SeaBIOS") { OptionRoms = ReadOptionRoms() },
        FirmwareKind.Uefi => new FirmwareFiles(ReadSized(UefiCode, UefiLength - VariablesLength), "OVMF"),
        _ => null,
    };

    /// <summary>UEFI's variables as a new machine has them.</summary>
    /// <exception cref="BootException">They aren't there.</exception>
    internal static byte[] ReadVariables() => ReadSized(UefiVariables, VariablesLength);

    private static string Folder(FirmwareKind kind) => FirmwareCache.ForUser().Find(kind)
        ?? throw new BootException(BootError.Unreadable, $"this host has no firmware for --firmware {(kind == FirmwareKind.Uefi ? "uefi" : "bios")}; Debian's package {FirmwareCache.PackageOf(kind)} would be right");

    private static byte[] ReadSized(string name, int length)
    {
        string path = Path.Combine(Folder(FirmwareKind.Uefi), name);
        byte[] rom = ReadRom(path);
        return rom.Length == length ? rom : throw new BootException(BootError.Malformed, $"{path}: it has {rom.Length} bytes; OVMF's of 4 MiB with {length} would be right");
    }

    private static byte[] ReadRom(string path)
    {
        using BootFile file = BootFile.Read(path, "firmware");
        if (file.Length > SystemRom.MaximumLength || file.Length % GuestMemory.PageSize != 0)
            throw new BootException(BootError.Malformed, $"{path}: the firmware has {file.Length} bytes; a ROM has a multiple of {GuestMemory.PageSize}, at most {SystemRom.MaximumLength}");
        return file.Bytes.ToArray();
    }

    // By the names under which SeaBIOS asks for the ROM of a display: the Bochs adapter and VMware's.
    private static Dictionary<string, byte[]> ReadOptionRoms()
    {
        string folder = Folder(FirmwareKind.Bios);
        var roms = new Dictionary<string, byte[]>();
        foreach ((string name, string file) in ((string, string)[])[("pci1234,1111.rom", "vgabios-stdvga.bin"), ("pci15ad,0405.rom", "vgabios-vmware.bin")])
        {
            string path = Path.Combine(folder, file);
            if (File.Exists(path))
                roms[name] = File.ReadAllBytes(path);
        }

        return roms;
    }
}
