using System.Buffers.Binary;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>
/// Loads a Multiboot 1 kernel, ELF or by the addresses in its header, and enters it in 32-bit protected mode with the
/// magic in EAX and the information structure in EBX (Multiboot Specification 0.6.96, sections 3.2 and 3.3).
/// </summary>
public sealed class MultibootLoader : IBootLoader
{
    private const uint BootMagic = 0x2BADB002;
    private const ulong Modules = LowMemory.MultibootInfo + 0x100;
    private const ulong ModuleName = LowMemory.MultibootInfo + 0x200;
    private const ulong LoaderName = LowMemory.MultibootInfo + 0x180;
    private const ulong Map = LowMemory.MultibootInfo + 0x800;
    private readonly BootFile _file;
    private readonly MultibootHeader _header;
    private readonly ElfFile? _elf;

    internal MultibootLoader(BootFile file, MultibootHeader header)
    {
        _file = file;
        _header = header;
        // Bits 0 to 15 are requirements. Alignment of modules and a memory map are met; a video mode is a wish that is granted with text.
        if ((header.Flags & 0xFFF8) != 0)
            throw new BootException(BootError.Unsupported, $"{file.Name}: the Multiboot header requires features 0x{header.Flags & 0xFFF8:x}; only bits 0 to 2 are served");
        if (ElfFile.IsElf(file) && !header.HasAddresses)
            _elf = ElfFile.Parse(file);
        else if (!header.HasAddresses)
            throw file.Malformed("a Multiboot header without addresses in a file that isn't ELF");
    }

    /// <inheritdoc/>
    public string Format => _elf is null ? "Multiboot 1, loaded by the header's addresses" : $"Multiboot 1, ELF {(_elf.Is64Bit ? 64 : 32)}-bit";

    /// <inheritdoc/>
    public CpuEntry Load(GuestMemory memory, BootRequest request)
    {
        (ulong end, ulong entry) = _elf is null ? LoadByAddresses(memory) : (_elf.LoadTo(memory, LowMemory.Used(LowMemory.MultibootInfo)), _elf.ToPhysical(_elf.Entry));
        if (entry > uint.MaxValue)
            throw _file.Malformed($"the entry 0x{entry:x} is above 4 GiB");
        // As GRUB and QEMU do, and kernels expect: the first word is the kernel's own name.
        string name = Path.GetFileName(_file.Name).Replace(' ', '_');
        LowMemory.WriteCommandLine(memory, $"{name} {request.CommandLine}", LowMemory.CommandLineSize - 1);
        WriteInformation(memory, request, end);
        LowMemory.WriteGdt(memory, isLong: false);
        return new CpuEntry
        {
            Mode = CpuEntryMode.Protected32,
            Rip = entry,
            Rax = BootMagic,
            Rbx = LowMemory.MultibootInfo,
            Rsp = LowMemory.StackTop,
            GdtBase = LowMemory.Gdt,
            GdtLimit = LowMemory.GdtLimit,
            CodeSelector = LowMemory.CodeSelector,
            DataSelector = LowMemory.DataSelector,
            TaskSelector = LowMemory.TaskSelector,
        };
    }

    private (ulong End, ulong Entry) LoadByAddresses(GuestMemory memory)
    {
        if (_header.HeaderAddress < _header.LoadAddress || _header.HeaderAddress - _header.LoadAddress > (uint)_header.Offset)
            throw _file.Malformed($"the Multiboot header says that it lies at 0x{_header.HeaderAddress:x} and the image at 0x{_header.LoadAddress:x}, but it stands at byte {_header.Offset}");
        if (_header.LoadAddress < LowMemory.End)
            throw new BootException(BootError.Unsupported, $"{_file.Name}: load address 0x{_header.LoadAddress:x} lies where the boot loader keeps its tables; 0x{LowMemory.End:x} or above would be right");
        long start = _header.Offset - (_header.HeaderAddress - _header.LoadAddress);
        if (_header.LoadEnd != 0 && _header.LoadEnd < _header.LoadAddress)
            throw _file.Malformed($"the image ends at 0x{_header.LoadEnd:x}, before its start at 0x{_header.LoadAddress:x}");
        long length = _header.LoadEnd == 0 ? _file.Length - start : _header.LoadEnd - _header.LoadAddress;
        LowMemory.Write(memory, _header.LoadAddress, _file.Slice(start, length, "the Multiboot image"), "kernel");
        ulong end = _header.LoadAddress + (ulong)length;
        if (_header.BssEnd > end)
        {
            LowMemory.Zero(memory, end, _header.BssEnd - end, "kernel's zeroed data");
            end = _header.BssEnd;
        }

        return (end, _header.Entry);
    }

    private static void WriteInformation(GuestMemory memory, BootRequest request, ulong kernelEnd)
    {
        const uint Memory = 1, CommandLine = 1 << 2, ModuleFlag = 1 << 3, MapFlag = 1 << 6, NameFlag = 1 << 9;
        Span<byte> info = new byte[(int)(LowMemory.CommandLine - LowMemory.MultibootInfo)];
        uint flags = Memory | CommandLine | MapFlag | NameFlag;
        BinaryPrimitives.WriteUInt32LittleEndian(info[4..], (uint)(Math.Min(PcMemoryMap.ConventionalEnd, memory.LowRamSize) >> 10));
        BinaryPrimitives.WriteUInt32LittleEndian(info[8..], (uint)((Math.Max(memory.LowRamSize, 0x100000) - 0x100000) >> 10));
        BinaryPrimitives.WriteUInt32LittleEndian(info[16..], (uint)LowMemory.CommandLine);
        if (request.Initrd is BootFile module)
        {
            // Modules lie right behind the kernel, page-aligned: kernels of this protocol expect all free memory above them.
            ulong start = (kernelEnd + 0xFFF) & ~0xFFFUL;
            if (start > memory.LowRamSize || (ulong)module.Length > memory.LowRamSize - start)
                throw new BootException(BootError.TooLarge, $"{module.Name}: the module of {LowMemory.Mebibytes((ulong)module.Length)} doesn't fit behind the kernel, which ends at {LowMemory.Mebibytes(start)}, in the memory of {LowMemory.Mebibytes(memory.RamSize)}");
            LowMemory.Write(memory, start, module.Bytes, "module");
            flags |= ModuleFlag;
            BinaryPrimitives.WriteUInt32LittleEndian(info[20..], 1);
            BinaryPrimitives.WriteUInt32LittleEndian(info[24..], (uint)Modules);
            Span<byte> entry = info[(int)(Modules - LowMemory.MultibootInfo)..];
            BinaryPrimitives.WriteUInt32LittleEndian(entry, (uint)start);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], (uint)(start + (ulong)module.Length));
            BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], (uint)ModuleName);
            byte[] name = System.Text.Encoding.UTF8.GetBytes(Path.GetFileName(module.Name));
            name.AsSpan(0, Math.Min(name.Length, 255)).CopyTo(info[(int)(ModuleName - LowMemory.MultibootInfo)..]);
        }

        IReadOnlyList<MemoryRange> ranges = request.MemoryMap.Ranges;
        BinaryPrimitives.WriteUInt32LittleEndian(info[44..], (uint)(ranges.Count * 24));
        BinaryPrimitives.WriteUInt32LittleEndian(info[48..], (uint)Map);
        for (int i = 0; i < ranges.Count; i++)
        {
            Span<byte> entry = info.Slice((int)(Map - LowMemory.MultibootInfo) + (i * 24), 24);
            BinaryPrimitives.WriteUInt32LittleEndian(entry, 20);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[4..], ranges[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[12..], ranges[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[20..], (uint)ranges[i].Kind);
        }

        BinaryPrimitives.WriteUInt32LittleEndian(info[64..], (uint)LoaderName);
        "doppel\0"u8.CopyTo(info[(int)(LoaderName - LowMemory.MultibootInfo)..]);
        BinaryPrimitives.WriteUInt32LittleEndian(info, flags);
        LowMemory.Write(memory, LowMemory.MultibootInfo, info, "Multiboot information");
    }
}
