namespace Doppel.Vmm.Boot;

/// <summary>
/// The setup header of a bzImage (Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"); offsets are
/// those in the file and, but for the last, in boot_params too.
/// </summary>
internal sealed class LinuxSetupHeader
{
    internal const int Start = 0x1F1;
    internal const int TypeOfLoader = 0x210;
    internal const int LoadFlags = 0x211;
    internal const int Code32Start = 0x214;
    internal const int RamdiskImage = 0x218;
    internal const int RamdiskSize = 0x21C;
    internal const int HeapEnd = 0x224;
    internal const int CommandLinePointer = 0x228;
    private const uint Magic = 0x53726448;

    internal LinuxSetupHeader(BootFile file)
    {
        if (file.ReadUInt16(0x1FE, "the boot sector's signature") != 0xAA55)
            throw file.Malformed("no boot sector signature 55 AA at offset 0x1fe");
        Version = file.ReadUInt16(0x206, "the setup header's version");
        if (Version < 0x0206)
            throw new BootException(BootError.Unsupported, $"{file.Name}: boot protocol {Version >> 8}.{Version & 0xFF:00}; 2.06 (Linux 2.6.22) or newer would be right");
        End = 0x202 + file.ReadByte(0x201, "the setup header's length");
        if (End is < 0x23C or > 0x290)
            throw file.Malformed($"the setup header ends at 0x{End:x}; 0x23c to 0x290 would be right");
        int sectors = file.ReadByte(Start, "the number of setup sectors");
        SetupSize = ((sectors == 0 ? 4 : sectors) + 1) * 512;
        if ((file.ReadByte(LoadFlags, "the load flags") & 1) == 0)
            throw new BootException(BootError.Unsupported, $"{file.Name}: a zImage, loaded low; a bzImage would be right");
        ulong promised = (ulong)SetupSize + ((ulong)file.ReadUInt32(0x1F4, "the size of the protected-mode code") * 16);
        if (promised > (ulong)file.Length && promised - (ulong)file.Length >= 16)
            throw file.Truncated(promised, "the kernel");
        if (End > SetupSize)
            throw file.Malformed($"{sectors} setup sectors do not hold the setup header");
        Code32 = file.ReadUInt32(Code32Start, "the 32-bit entry");
        InitrdMaximum = file.ReadUInt32(0x22C, "the highest address of the initial RAM disk");
        Alignment = file.ReadUInt32(0x230, "the kernel's alignment");
        IsRelocatable = file.ReadByte(0x234, "the relocatable flag") != 0;
        ExtendedFlags = Version >= 0x020C ? file.ReadUInt16(0x236, "the extended load flags") : (ushort)0;
        CommandLineSize = file.ReadUInt32(0x238, "the size of the command line");
        PreferredAddress = Version >= 0x020A && End >= 0x260 ? file.ReadUInt64(0x258, "the preferred address") : 0;
        InitSize = Version >= 0x020A && End >= 0x264 ? file.ReadUInt32(0x260, "the size in memory") : 0;
        if (Has64BitEntry && file.Length < SetupSize + 0x200)
            throw file.Truncated((ulong)SetupSize + 0x200, "the 64-bit entry");
    }

    /// <summary>Protocol version, 0x020F for 2.15.</summary>
    internal ushort Version { get; }

    /// <summary>End of the header in the file.</summary>
    internal int End { get; }

    /// <summary>Bytes of real-mode code before the kernel proper.</summary>
    internal int SetupSize { get; }

    internal uint Code32 { get; }

    internal uint InitrdMaximum { get; }

    internal uint Alignment { get; }

    internal bool IsRelocatable { get; }

    internal ushort ExtendedFlags { get; }

    internal uint CommandLineSize { get; }

    internal ulong PreferredAddress { get; }

    internal uint InitSize { get; }

    /// <summary>XLF_KERNEL_64: a 64-bit entry 0x200 bytes into the kernel.</summary>
    internal bool Has64BitEntry => (ExtendedFlags & 1) != 0;

    internal static bool IsPresent(BootFile file) => file.Length >= 0x206 && file.ReadUInt32(0x202, "magic") == Magic;
}
