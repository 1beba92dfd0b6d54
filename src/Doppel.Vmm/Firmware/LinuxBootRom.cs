using System.Buffers.Binary;
using System.Text;
using Doppel.Devices.Pc;
using Doppel.Machine.Memory;
using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Firmware;

/// <summary>
/// Lets firmware boot a Linux kernel that the user names. A BIOS runs an option ROM that takes over its boot (INT 19h), has
/// <see cref="FirmwareConfiguration"/> copy the parts to where Linux's boot protocol wants them, and enters the kernel's
/// real-mode code (Documentation/arch/x86/boot.rst). UEFI reads the same items itself.
/// </summary>
internal static class LinuxBootRom
{
    private const ushort KernelSize = 0x08, InitrdSize = 0x0B, KernelData = 0x11, InitrdData = 0x12, CommandLineSize = 0x14, CommandLineData = 0x15, SetupSize = 0x17, SetupData = 0x18;
    private const uint SetupAddress = 0x10000, CommandLineAddress = 0x20000, KernelAddress = 0x100000;
    private const int MostCommandLine = 0x1000;
    // What firmware takes of the end of RAM for its tables.
    private const ulong FirmwareReserve = 4 << 20;

    /// <summary>Adds kernel, initial RAM disk and command line, and for a BIOS the ROM.</summary>
    /// <exception cref="BootException">The kernel isn't Linux's, or doesn't fit.</exception>
    internal static void Add(FirmwareConfiguration items, BootFile kernel, BootFile? initrd, string commandLine, GuestMemory memory)
    {
        if (!LinuxBzImageLoader.IsBzImage(kernel))
            throw new BootException(BootError.Unsupported, $"{kernel.Name}: firmware boots a Linux bzImage; for other kernels --firmware none would be right");
        var header = new LinuxSetupHeader(kernel);
        byte[] text = [.. Encoding.UTF8.GetBytes(commandLine), 0];
        if (text.Length > MostCommandLine)
            throw new BootException(BootError.TooLarge, $"the command line has {text.Length - 1} bytes; at most {MostCommandLine - 1} would be right");
        byte[] disk = initrd is null ? [] : initrd.Bytes.ToArray();
        ulong end = Math.Min(memory.LowRamSize - Math.Min(memory.LowRamSize, FirmwareReserve), (ulong)header.InitrdMaximum + 1);
        ulong lowest = KernelAddress + Math.Max(header.InitSize, (ulong)kernel.Length);
        if (lowest + (ulong)disk.Length > end)
            throw new BootException(BootError.TooLarge, $"{kernel.Name}: the kernel and its initial RAM disk need {LowMemory.Mebibytes(lowest + (ulong)disk.Length + FirmwareReserve)}; the machine has {LowMemory.Mebibytes(memory.RamSize)}");
        var diskAddress = (uint)((end - (ulong)disk.Length) & ~0xFFFUL);
        byte[] setup = kernel.Bytes[..header.SetupSize].ToArray();
        byte[] code = kernel.Bytes[header.SetupSize..].ToArray();
        const byte UnknownLoader = 0xFF, CanUseHeap = 0x80;
        setup[LinuxSetupHeader.TypeOfLoader] = UnknownLoader;
        setup[LinuxSetupHeader.LoadFlags] |= CanUseHeap;
        BinaryPrimitives.WriteUInt16LittleEndian(setup.AsSpan(LinuxSetupHeader.HeapEnd), 0xFE00);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(LinuxSetupHeader.CommandLinePointer), CommandLineAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(LinuxSetupHeader.RamdiskImage), disk.Length == 0 ? 0 : diskAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(LinuxSetupHeader.RamdiskSize), (uint)disk.Length);
        _ = items
            .Add(SetupSize, BitConverter.GetBytes(setup.Length)).Add(SetupData, setup)
            .Add(KernelSize, BitConverter.GetBytes(code.Length)).Add(KernelData, code)
            .Add(InitrdSize, BitConverter.GetBytes(disk.Length)).Add(InitrdData, disk)
            .Add(CommandLineSize, BitConverter.GetBytes(text.Length)).Add(CommandLineData, text);
        _ = items.AddFile("genroms/doppel-linux.bin", Make([(SetupData, SetupAddress, setup.Length), (CommandLineData, CommandLineAddress, text.Length), (KernelData, KernelAddress, code.Length), (InitrdData, diskAddress, disk.Length)]));
    }

    private static byte[] Make(IReadOnlyList<(ushort Item, uint Address, int Length)> parts)
    {
        const int TableOffset = 0x80, HandlerOffset = 0x20;
        var rom = new byte[512];
        // The header: signature, blocks of 512 bytes, and at 3 the entry.
        ((ReadOnlySpan<byte>)[0x55, 0xAA, 1]).CopyTo(rom);
        ((ReadOnlySpan<byte>)
        [
            0x1E, 0x50,                                     // push ds; push ax
            0x31, 0xC0, 0x8E, 0xD8,                         // xor ax, ax; mov ds, ax
            0xC7, 0x06, 0x64, 0x00, HandlerOffset, 0x00,    // mov word [4 * 19h], handler
            0x8C, 0x0E, 0x66, 0x00,                         // mov [4 * 19h + 2], cs
            0x58, 0x1F, 0xCB,                               // pop ax; pop ds; retf
        ]).CopyTo(rom.AsSpan(3));
        ((ReadOnlySpan<byte>)
        [
            0xFA, 0xFC,                                     // cli; cld
            0x8C, 0xC8,                                     // mov ax, cs
            0x66, 0x0F, 0xB7, 0xD8,                         // movzx ebx, ax
            0x66, 0xC1, 0xE3, 0x04,                         // shl ebx, 4
            0x66, 0x81, 0xC3, TableOffset, 0, 0, 0,         // add ebx, table
            0xB9, (byte)parts.Count, 0x00,                  // mov cx, count
            0x66, 0x31, 0xC0,                               // next: xor eax, eax
            0xBA, 0x14, 0x05, 0x66, 0xEF,                   // mov dx, 514h; out dx, eax
            0x66, 0x89, 0xD8, 0x66, 0x0F, 0xC8,             // mov eax, ebx; bswap eax
            0xBA, 0x18, 0x05, 0x66, 0xEF,                   // mov dx, 518h; out dx, eax
            0x66, 0x83, 0xC3, 0x10,                         // add ebx, 16
            0xE2, 0xE7,                                     // loop next
            0xB8, 0x00, 0x10,                               // mov ax, 1000h
            0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xE0, 0x8E, 0xE8, // mov ds, es, fs, gs
            0x8E, 0xD0, 0x66, 0xBC, 0xF0, 0xFF, 0x00, 0x00, // mov ss, ax; mov esp, FFF0h
            0xEA, 0x00, 0x00, 0x20, 0x10,                   // jmp 1020h:0
        ]).CopyTo(rom.AsSpan(HandlerOffset));
        for (int i = 0; i < parts.Count; i++)
        {
            const uint SelectAndRead = 8 | 2;
            Span<byte> entry = rom.AsSpan(TableOffset + (16 * i));
            BinaryPrimitives.WriteUInt32BigEndian(entry, ((uint)parts[i].Item << 16) | SelectAndRead);
            BinaryPrimitives.WriteInt32BigEndian(entry[4..], parts[i].Length);
            BinaryPrimitives.WriteUInt64BigEndian(entry[8..], parts[i].Address);
        }

        byte sum = 0;
        foreach (byte part in rom)
            sum += part;
        rom[^1] = (byte)-sum;
        return rom;
    }
}
