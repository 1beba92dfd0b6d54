using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>Memory that changes what it is while a guest runs by KVM: a chip set's segments, flash memory, a display's memory.</summary>
public sealed unsafe class KvmMemoryTests
{
    private const ushort Code = 0x7000;
    private const byte Switch = 0x90;
    private const ulong Segment = 0xC0000;

    [KvmFact]
    public void Pages_become_rom_nothing_and_ram_again()
    {
        using EngineGuest guest = KvmEngineTests.Create();
        int step = 0;
        PageFlags[] kinds = [PageFlags.Rom, PageFlags.None, PageFlags.Ram];
        guest.Ports.Map(Switch, 1, new WriteRegion(_ => guest.Memory.SetKind(Segment, 0x4000, kinds[step++])));
        guest.Assemble(16, Code, c =>
        {
            c.mov(ax, (ushort)(Segment >> 4));
            c.mov(ds, ax);
            c.mov(__byte_ptr[0x10], (byte)1);
            // ROM: what was written stays.
            c.@out(Switch, al);
            c.mov(__byte_ptr[0x10], (byte)2);
            c.mov(bl, __byte_ptr[0x10]);
            // Nothing: nobody answers.
            c.@out(Switch, al);
            c.mov(__byte_ptr[0x10], (byte)3);
            c.mov(cl, __byte_ptr[0x10]);
            // RAM: what was stored shows again, and can be written.
            c.@out(Switch, al);
            c.mov(dl, __byte_ptr[0x10]);
            c.mov(__byte_ptr[0x10], (byte)4);
            c.mov(dh, __byte_ptr[0x10]);
            c.hlt();
        });
        guest.EnterReal(Code);
        guest.RunToHalt();
        Assert.Equal(1UL, guest.Rbx & 0xFF);
        Assert.Equal(0xFFUL, guest.Rcx & 0xFF);
        Assert.Equal(0x0401UL, guest.Rdx & 0xFFFF);
    }

    [KvmFact]
    public void What_was_written_before_a_page_changes_is_not_forgotten()
    {
        using EngineGuest guest = KvmEngineTests.Create();
        guest.Ports.Map(Switch, 1, new WriteRegion(_ => guest.Memory.SetKind(Segment, 0x4000, PageFlags.Rom)));
        guest.Assemble(16, Code, c =>
        {
            c.mov(ax, (ushort)(Segment >> 4));
            c.mov(ds, ax);
            c.mov(__byte_ptr[0x1010], (byte)1);
            c.@out(Switch, al);
            c.hlt();
        });
        guest.EnterReal(Code);
        guest.Memory.TakeDirtyPages(PageSet.For(guest.Memory));
        guest.RunToHalt();
        var pages = PageSet.For(guest.Memory);
        guest.Memory.TakeDirtyPages(pages);
        Assert.Equal([(Segment >> 12) + 1], pages.Runs().Select(run => run.First));
    }

    [KvmFact]
    public void Memory_of_a_device_is_plain_memory_and_its_writes_are_known()
    {
        const ulong Place = 0xE0000000;
        const int Length = 0x10000;
        using EngineGuest guest = KvmEngineTests.Create();
        using var ram = new DeviceRam("kvm-test", Length, guest.Cpu.Physical);
        ram.Bytes[0x2004] = 7;
        ram.NoteWrite(0, 1);
        guest.Ports.Map(Switch, 1, new WriteRegion(value =>
        {
            if (value == 1)
                Assert.True(ram.TryShow(Place, 0, Length));
            else
                ram.Hide(Place);
        }));
        guest.Assemble(32, EngineGuest.Code, c =>
        {
            c.mov(edi, (uint)Place);
            c.mov(al, 1);
            c.@out(Switch, al);
            c.mov(bl, __byte_ptr[edi + 0x2004]);
            c.mov(__byte_ptr[edi + 0x5008], bl);
            c.hlt();
            c.mov(al, 0);
            c.@out(Switch, al);
            c.mov(cl, __byte_ptr[edi + 0x2004]);
            c.hlt();
        });
        KvmEngineTests.EnterProtected(guest);
        guest.RunToHalt();
        Assert.Equal(7UL, guest.Rbx & 0xFF);
        Assert.Equal(7, ram.Bytes[0x5008]);
        ulong[] written = new ulong[1];
        ram.TakeWritten(written);
        Assert.Equal((1UL << 5) | 1, written[0]);
        written[0] = 0;
        ram.TakeWritten(written);
        Assert.Equal(0UL, written[0]);
        guest.State->Activity = ActivityState.Running;
        guest.RunToHalt();
        Assert.Equal(0xFFUL, guest.Rcx & 0xFF);
    }

    private sealed class WriteRegion(Action<ulong> write) : IIoRegion
    {
        public string Name => "switch";

        public ulong Read(ulong offset, int size) => 0;

        public void Write(ulong offset, int size, ulong value) => write(value);
    }
}
