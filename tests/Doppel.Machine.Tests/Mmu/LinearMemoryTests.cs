using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using Doppel.Machine.Tests.System;
using static Doppel.Machine.Tests.Mmu.PagingGuest;

namespace Doppel.Machine.Tests.Mmu;

public sealed unsafe class LinearMemoryTests
{
    private const ulong Linear = 0x00C03000;

    [Fact]
    public void An_access_across_a_page_end_joins_both_pages()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W);
        guest.Map(Linear + 0x1000, 0x00400000 | P | W);
        for (int size = 2; size <= 8; size *= 2)
        {
            for (int before = 1; before < size; before++)
            {
                ulong address = Linear + 0x1000 - (uint)before;
                Write(guest.Cpu, address, size, 0x8877665544332211);
                for (int i = 0; i < size; i++)
                {
                    ulong physical = i < before ? 0x00346000 - (uint)(before - i) : 0x00400000 + (uint)(i - before);
                    Assert.Equal((byte)(0x11 * (i + 1)), guest.Memory.Base[physical]);
                }

                ulong mask = size == 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;
                Assert.Equal(0x8877665544332211 & mask, Read(guest.Cpu, address, size));
                Assert.Equal(0x8877665544332211 & mask, guest.Cpu.Linear.ReadSystem(address, size));
            }
        }
    }

    [Fact]
    public void A_crossing_write_that_faults_on_the_second_page_writes_nothing_and_reports_that_pages_start()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W);
        guest.Map(Linear + 0x1000, 0x00400000 | P);
        ulong address = Linear + 0xFFD;
        FaultRecord expected = new(ExceptionVector.PageFault, 3, Linear + 0x1000, 0, false);
        Assert.Equal(expected, FaultRecord.Of(() => guest.Cpu.Linear.Write(address, ulong.MaxValue)));
        Assert.Equal(expected, FaultRecord.Of(() => guest.Cpu.Linear.WriteSystem(address, 8, ulong.MaxValue)));
        Assert.Equal(expected, FaultRecord.Of(() => guest.Cpu.Linear.ProbeWrite(address, 8)));
        Assert.Equal(expected, FaultRecord.Of(() => guest.Cpu.Linear.WriteBlock(address, new byte[16])));
        Assert.Equal(expected, FaultRecord.Of(() => _ = (nint)guest.Cpu.Linear.HostPointerForUpdate(address, 8, out _)));
        Assert.All(new ReadOnlySpan<byte>(guest.Memory.Base + 0x345FF0, 16).ToArray(), b => Assert.Equal(0, b));
        guest.Map(Linear, 0);
        guest.Cpu.Tlb.FlushAll();
        Assert.Equal(address, FaultRecord.Of(() => guest.Cpu.Linear.Read<uint>(address)).Address);
    }

    [Theory]
    [InlineData(0x0000_8000_0000_0000UL, 1)]
    [InlineData(0x0000_7FFF_FFFF_FFFFUL, 2)]
    [InlineData(0xFFFF_7FFF_FFFF_FFFFUL, 1)]
    [InlineData(0xFFFF_7FFF_FFFF_FFFFUL, 8)]
    [InlineData(0x8000_0000_0000_0000UL, 8)]
    public void A_non_canonical_address_is_a_protection_fault_and_on_the_stack_a_stack_fault(ulong address, int size)
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(0x0000_7FFF_FFFF_F000, 0x00345000 | P | W);
        FaultRecord.AssertGeneralProtection(() => Read(guest.Cpu, address, size));
        FaultRecord.AssertGeneralProtection(() => Write(guest.Cpu, address, size, 0));
        FaultRecord.AssertGeneralProtection(() => guest.Cpu.Linear.ReadSystem(address, size));
        FaultRecord stack = new(ExceptionVector.StackFault, 0, 0, 0, false);
        Assert.Equal(stack, FaultRecord.Of(() => guest.Cpu.Linear.Read<ulong>(address, isStack: true)));
        Assert.Equal(stack, FaultRecord.Of(() => guest.Cpu.Linear.Write(address, 0UL, isStack: true)));
    }

    [Fact]
    public void Outside_long_mode_addresses_wrap_at_4_GiB()
    {
        using var guest = new PagingGuest(PagingMode.TwoLevel);
        guest.Map(0xFFFFF000, 0x00345000 | P | W);
        guest.Map(0, 0x00400000 | P | W);
        guest.Cpu.Linear.Write(0xFFFFFFFE, 0x44332211u);
        Assert.Equal(0x2211, *(ushort*)(guest.Memory.Base + 0x345FFE));
        Assert.Equal(0x4433, *(ushort*)(guest.Memory.Base + 0x400000));
        Assert.Equal(0x44332211u, guest.Cpu.Linear.Read<uint>(0xFFFFFFFE));
        Assert.Equal(0x4433, guest.Cpu.Linear.Read<ushort>(0x1_0000_0000));
    }

    [Fact]
    public void An_access_at_a_page_end_never_hits_an_empty_entry()
    {
        using TestCpu test = new();
        for (ulong page = 0; page < 512; page++)
        {
            ulong address = (page << 12) + 0xFFC;
            *(ulong*)(test.Ram + address) = page * 0x0101010101010101;
            Assert.Equal(page * 0x0101010101010101, test.Cpu.Linear.Read<ulong>(address));
            test.Cpu.Tlb.FlushAll();
            test.Cpu.Linear.Write(address, ~page);
            Assert.Equal(~page, *(ulong*)(test.Ram + address));
            test.Cpu.Tlb.FlushAll();
        }
    }

    [Fact]
    public void Alignment_checks_need_am_ac_and_user_code()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W | U);
        guest.SetCpl(3);
        guest.SetAc(true);
        Assert.Equal(0u, guest.Cpu.Linear.Read<uint>(Linear + 1));
        guest.SetCpl(0);
        guest.SetCr0(Cr0.Am);
        Assert.Equal(0u, guest.Cpu.Linear.Read<uint>(Linear + 1));
        guest.SetCpl(3);
        Assert.Equal(ExceptionVector.AlignmentCheck, FaultRecord.Of(() => guest.Cpu.Linear.Read<uint>(Linear + 1)).Vector);
        Assert.Equal(ExceptionVector.AlignmentCheck, FaultRecord.Of(() => guest.Cpu.Linear.Write(Linear + 4, 0UL)).Vector);
        Assert.Equal(0u, guest.Cpu.Linear.Read<uint>(Linear + 4));
        Assert.Equal(0, guest.Cpu.Linear.Read<byte>(Linear + 1));
        guest.SetAc(false);
        Assert.Equal(0u, guest.Cpu.Linear.Read<uint>(Linear + 1));
    }

    [Fact]
    public void Blocks_cross_pages_and_are_written_whole_or_not_at_all()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W);
        guest.Map(Linear + 0x1000, 0x00500000 | P | W);
        guest.Map(Linear + 0x2000, 0x00600000 | P | W);
        byte[] data = new byte[0x1800];
        new Random(3).NextBytes(data);
        guest.Cpu.Linear.WriteBlock(Linear + 0xC00, data);
        byte[] back = new byte[data.Length];
        guest.Cpu.Linear.ReadBlock(Linear + 0xC00, back);
        Assert.Equal(data, back);
        Assert.Equal(data[0x400], guest.Memory.Base[0x500000]);
        Assert.Equal(data[0x1400], guest.Memory.Base[0x600000]);
        guest.Map(Linear + 0x2000, 0);
        guest.Cpu.Tlb.FlushAll();
        FaultRecord fault = FaultRecord.Of(() => guest.Cpu.Linear.WriteBlock(Linear + 0xC00, new byte[0x1800]));
        Assert.Equal(Linear + 0x2000, fault.Address);
        Assert.Equal(data[0], guest.Memory.Base[0x345C00]);
    }

    [Fact]
    public void Rom_is_read_but_not_written_and_what_is_no_memory_goes_to_the_bus()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Memory.AddRom(0xF0000, [0x12, 0x34]);
        var device = new RecordingRegion();
        guest.Test.Mmio.Map(0xFED00000, 0x1000, device);
        guest.Map(Linear, 0xF0000 | P | W);
        guest.Map(Linear + 0x1000, 0xFED00000 | P | W);
        guest.Map(Linear + 0x2000, 0x1000000000 | P | W);
        guest.Cpu.Linear.Write(Linear, (ushort)0xFFFF);
        Assert.Equal(0x3412, guest.Cpu.Linear.Read<ushort>(Linear));
        Assert.True((nint)guest.Cpu.Linear.HostPointerForUpdate(Linear, 4, out _) == 0);
        guest.Cpu.Linear.Write(Linear + 0x1010, 0xCAFEu);
        Assert.Equal(0x5Au, guest.Cpu.Linear.Read<uint>(Linear + 0x1020));
        Assert.Equal(["write 10+4 cafe", "read 20+4"], device.Calls);
        Assert.Equal(ulong.MaxValue, guest.Cpu.Linear.Read<ulong>(Linear + 0x2000));
        guest.Cpu.Linear.Write(Linear + 0x2000, 0UL);
        Assert.True((nint)guest.Cpu.Linear.HostPointerForUpdate(Linear + 0x1000, 4, out _) == 0);
    }

    [Fact]
    public void A_locked_operand_in_ram_has_a_host_address_and_a_dirty_page()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        ulong pte = guest.Map(Linear, 0x00345000 | P | W);
        byte* host = guest.Cpu.Linear.HostPointerForUpdate(Linear + 0x10, 8, out ulong physical);
        Assert.Equal(0x00345010UL, physical);
        Assert.True(host == guest.Memory.Base + physical);
        Assert.Equal(D, guest.Get(pte) & D);
        Assert.True(guest.Memory.FlagsOf(physical).HasFlag(PageFlags.Dirty));
    }

    private static ulong Read(VirtualCpu cpu, ulong address, int size) => size switch
    {
        1 => cpu.Linear.Read<byte>(address),
        2 => cpu.Linear.Read<ushort>(address),
        4 => cpu.Linear.Read<uint>(address),
        _ => cpu.Linear.Read<ulong>(address),
    };

    private static void Write(VirtualCpu cpu, ulong address, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                cpu.Linear.Write(address, (byte)value);
                break;
            case 2:
                cpu.Linear.Write(address, (ushort)value);
                break;
            case 4:
                cpu.Linear.Write(address, (uint)value);
                break;
            default:
                cpu.Linear.Write(address, value);
                break;
        }
    }

    /// <summary>Flash shows its status instead of its array after a command, and firmware looks at it in the same block of code.</summary>
    [Fact]
    public void A_device_that_hides_its_memory_when_written_to_answers_the_very_next_read()
    {
        const ulong Physical = 0x00345000;
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, Physical | P | W);
        guest.Memory.Base[Physical + 8] = 0x77;
        guest.Memory.SetKind(Physical, 0x1000, PageFlags.Rom);
        guest.Cpu.Tlb.FlushAll();
        var device = new RecordingRegion { Written = () => guest.Memory.SetKind(Physical, 0x1000, PageFlags.None) };
        guest.Cpu.Physical.Mmio.Map(Physical, 0x1000, device);
        Assert.Equal(0x77, guest.Cpu.Linear.Read<byte>(Linear + 8));

        guest.Cpu.Linear.Write(Linear + 8, (byte)0x70);

        Assert.Equal(0x5A, guest.Cpu.Linear.Read<byte>(Linear + 8));
        Assert.Equal(["write 8+1 70", "read 8+1"], device.Calls);
    }

    private sealed class RecordingRegion : IIoRegion
    {
        internal List<string> Calls { get; } = [];

        internal Action? Written { get; init; }

        public string Name => "recorder";

        public ulong Read(ulong offset, int size)
        {
            Calls.Add($"read {offset:x}+{size}");
            return 0x5A;
        }

        public void Write(ulong offset, int size, ulong value)
        {
            Calls.Add($"write {offset:x}+{size} {value:x}");
            Written?.Invoke();
        }
    }
}
