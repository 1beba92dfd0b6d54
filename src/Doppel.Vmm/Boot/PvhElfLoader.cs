using System.Buffers.Binary;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>
/// Loads an ELF kernel with a PVH entry (Xen docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h): 32-bit
/// protected mode without paging, EBX pointing at hvm_start_info.
/// </summary>
public sealed class PvhElfLoader : IBootLoader
{
    private const uint Magic = 0x336EC578;
    private const ulong ModuleList = LowMemory.PvhStartInfo + 0x40;
    private const ulong MapList = LowMemory.PvhStartInfo + 0x80;
    private const int MaximumRanges = (int)((LowMemory.BootParameters - MapList) / 24);
    private readonly ElfFile _elf;
    private readonly uint _entry;

    internal PvhElfLoader(ElfFile elf, uint entry)
    {
        _elf = elf;
        _entry = entry;
    }

    /// <inheritdoc/>
    public string Format => $"ELF {(_elf.Is64Bit ? 64 : 32)}-bit with PVH entry 0x{_entry:x}";

    /// <inheritdoc/>
    public CpuEntry Load(GuestMemory memory, BootRequest request)
    {
        ulong end = _elf.LoadTo(memory, LowMemory.Used(LowMemory.PvhStartInfo));
        LowMemory.WriteCommandLine(memory, request.CommandLine, LowMemory.CommandLineSize - 1);
        int ranges = Math.Min(request.MemoryMap.Ranges.Count, MaximumRanges);
        Span<byte> info = new byte[(int)(LowMemory.BootParameters - LowMemory.PvhStartInfo)];
        BinaryPrimitives.WriteUInt32LittleEndian(info, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(info[4..], 1);
        if (request.Initrd is not null)
        {
            ulong address = LowMemory.PlaceHigh(memory, request.Initrd, end, GuestMemory.LowRamLimit);
            BinaryPrimitives.WriteUInt32LittleEndian(info[12..], 1);
            BinaryPrimitives.WriteUInt64LittleEndian(info[16..], ModuleList);
            BinaryPrimitives.WriteUInt64LittleEndian(info[0x40..], address);
            BinaryPrimitives.WriteUInt64LittleEndian(info[0x48..], (ulong)request.Initrd.Length);
        }

        BinaryPrimitives.WriteUInt64LittleEndian(info[24..], LowMemory.CommandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(info[32..], request.RsdpAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(info[40..], MapList);
        BinaryPrimitives.WriteUInt32LittleEndian(info[48..], (uint)ranges);
        for (int i = 0; i < ranges; i++)
        {
            MemoryRange range = request.MemoryMap.Ranges[i];
            Span<byte> entry = info.Slice((int)(MapList - LowMemory.PvhStartInfo) + (i * 24), 24);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, range.Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], range.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)range.Kind);
        }

        LowMemory.Write(memory, LowMemory.PvhStartInfo, info, "PVH start information");
        LowMemory.WriteGdt(memory, isLong: false);
        return new CpuEntry
        {
            Mode = CpuEntryMode.Protected32,
            Rip = _entry,
            Rbx = LowMemory.PvhStartInfo,
            GdtBase = LowMemory.Gdt,
            GdtLimit = LowMemory.GdtLimit,
            CodeSelector = LowMemory.CodeSelector,
            DataSelector = LowMemory.DataSelector,
            TaskSelector = LowMemory.TaskSelector,
        };
    }
}
