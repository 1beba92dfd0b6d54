using System.Buffers.Binary;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>
/// Loads a Linux bzImage and enters it by the 64-bit boot protocol, or by the 32-bit one when the kernel has no 64-bit
/// entry (Linux Documentation/arch/x86/boot.rst and zero-page.rst). Real-mode code is not run.
/// </summary>
public sealed class LinuxBzImageLoader : IBootLoader
{
    private const int BootParametersSize = 4096;
    private const int MaximumE820 = 128;
    private readonly BootFile _file;
    private readonly LinuxSetupHeader _header;

    /// <summary>Checks the headers of an image.</summary>
    /// <exception cref="BootException">They are damaged, or the protocol is too old.</exception>
    public LinuxBzImageLoader(BootFile file)
    {
        _file = file;
        _header = new LinuxSetupHeader(file);
    }

    /// <inheritdoc/>
    public string Format => $"Linux bzImage, boot protocol {_header.Version >> 8}.{_header.Version & 0xFF:00}, {(_header.Has64BitEntry ? 64 : 32)}-bit entry";

    /// <summary>True when the file has the magic "HdrS" of a setup header.</summary>
    public static bool IsBzImage(BootFile file) => LinuxSetupHeader.IsPresent(file);

    /// <inheritdoc/>
    public CpuEntry Load(GuestMemory memory, BootRequest request)
    {
        ReadOnlySpan<byte> kernel = _file.Slice(_header.SetupSize, _file.Length - _header.SetupSize, "the kernel");
        ulong load = ChooseAddress();
        // The kernel unpacks itself in place and needs init_size bytes; it moves up to the preferred address if it lies below.
        ulong runtimeStart = Math.Max(load, _header.PreferredAddress);
        ulong runtimeEnd = Math.Max(load + (ulong)kernel.Length, runtimeStart + _header.InitSize);
        if (runtimeEnd > memory.LowRamSize)
        {
            throw new BootException(
                BootError.TooLarge,
                $"{_file.Name}: the kernel needs memory up to {LowMemory.Mebibytes((runtimeEnd + 0xFFFFF) & ~0xFFFFFUL)}; the machine has {LowMemory.Mebibytes(memory.RamSize)}");
        }

        LowMemory.Write(memory, load, kernel, "kernel");
        LowMemory.WriteCommandLine(memory, request.CommandLine, _header.CommandLineSize == 0 ? 255 : _header.CommandLineSize);
        ulong initrd = 0;
        if (request.Initrd is not null)
            initrd = LowMemory.PlaceHigh(memory, request.Initrd, runtimeEnd, (ulong)_header.InitrdMaximum + 1);
        WriteBootParameters(memory, request, load, initrd);
        bool isLong = _header.Has64BitEntry;
        LowMemory.WriteGdt(memory, isLong);
        return new CpuEntry
        {
            Mode = isLong ? CpuEntryMode.Long64 : CpuEntryMode.Protected32,
            Rip = isLong ? load + 0x200 : load,
            Rsi = LowMemory.BootParameters,
            Rsp = LowMemory.StackTop,
            Cr3 = isLong ? LowMemory.WriteIdentityMap(memory) : 0,
            GdtBase = LowMemory.Gdt,
            GdtLimit = LowMemory.GdtLimit,
            CodeSelector = LowMemory.CodeSelector,
            DataSelector = LowMemory.DataSelector,
            TaskSelector = LowMemory.TaskSelector,
        };
    }

    private ulong ChooseAddress()
    {
        const ulong Default = 0x100000;
        if (!_header.IsRelocatable || _header.PreferredAddress < Default || _header.PreferredAddress >= GuestMemory.LowRamLimit)
            return Default;
        return _header.PreferredAddress;
    }

    private void WriteBootParameters(GuestMemory memory, BootRequest request, ulong load, ulong initrd)
    {
        Span<byte> page = new byte[BootParametersSize];
        _file.Slice(LinuxSetupHeader.Start, _header.End - LinuxSetupHeader.Start, "the setup header").CopyTo(page[LinuxSetupHeader.Start..]);
        page[LinuxSetupHeader.TypeOfLoader] = 0xFF;
        page[LinuxSetupHeader.LoadFlags] |= 0x80;
        BinaryPrimitives.WriteUInt16LittleEndian(page[LinuxSetupHeader.HeapEnd..], 0xFE00);
        BinaryPrimitives.WriteUInt16LittleEndian(page[0x1FA..], 0xFFFF);
        BinaryPrimitives.WriteUInt32LittleEndian(page[LinuxSetupHeader.Code32Start..], (uint)load);
        BinaryPrimitives.WriteUInt32LittleEndian(page[LinuxSetupHeader.CommandLinePointer..], (uint)LowMemory.CommandLine);
        BinaryPrimitives.WriteUInt32LittleEndian(page[LinuxSetupHeader.RamdiskImage..], (uint)initrd);
        BinaryPrimitives.WriteUInt32LittleEndian(page[LinuxSetupHeader.RamdiskSize..], (uint)(request.Initrd?.Length ?? 0));
        BinaryPrimitives.WriteUInt64LittleEndian(page[0x70..], request.RsdpAddress);
        uint aboveOneMiB = (uint)(Math.Max(memory.LowRamSize, 0x100000) - 0x100000) >> 10;
        BinaryPrimitives.WriteUInt16LittleEndian(page[2..], (ushort)Math.Min(aboveOneMiB, 0xFC00));
        BinaryPrimitives.WriteUInt32LittleEndian(page[0x1E0..], aboveOneMiB);
        int count = Math.Min(request.MemoryMap.Ranges.Count, MaximumE820);
        page[0x1E8] = (byte)count;
        for (int i = 0; i < count; i++)
        {
            MemoryRange range = request.MemoryMap.Ranges[i];
            Span<byte> entry = page.Slice(0x2D0 + (i * 20), 20);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, range.Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], range.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)range.Kind);
        }

        if (request.HasTextScreen)
            DescribeTextScreen(page);
        LowMemory.Write(memory, LowMemory.BootParameters, page, "boot parameters");
    }

    // struct screen_info (Linux include/uapi/linux/screen_info.h): mode 3 of a VGA, 80 by 25 characters of 16 lines.
    private static void DescribeTextScreen(Span<byte> page)
    {
        page[0x06] = 3;
        page[0x07] = 80;
        page[0x0A] = 3;
        page[0x0E] = 25;
        page[0x0F] = 1;
        page[0x10] = 16;
    }
}
