using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Interrupts;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;

namespace Doppel.Machine.Tests.Memory;

public sealed unsafe class LocalWindowTests : IDisposable
{
    private readonly GuestMemory _memory = new(16 << 20);
    private readonly PhysicalAddressSpace _physical;
    private readonly VirtualCpu[] _cpus;
    private readonly LocalApic[] _apics;

    public LocalWindowTests()
    {
        var ioLock = new Lock();
        var clock = new InstructionClock(ioLock);
        var model = new CpuModel { Name = "test", Signature = 0x600, PhysicalAddressBits = 40, Has1GiBPages = true };
        var bus = new ApicBus();
        _physical = new PhysicalAddressSpace(_memory, new IoBus("mmio", 1UL << 40, ioLock));
        var ports = new IoBus("port", 65536, ioLock);
        _cpus = [.. Enumerable.Range(0, 2).Select(i => new VirtualCpu(i, model, _physical, ports, clock))];
        _apics = [.. Enumerable.Range(0, 2).Select(i => new LocalApic(i, _cpus[i], bus, clock))];
        for (int i = 0; i < 2; i++)
            _cpus[i].Apic = _apics[i];
    }

    public void Dispose()
    {
        foreach (VirtualCpu cpu in _cpus)
            cpu.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void One_address_leads_each_vcpu_to_its_own_apic()
    {
        Assert.Equal(0u, _cpus[0].Linear.Read<uint>(0xFEE00020));
        Assert.Equal(0x0100_0000u, _cpus[1].Linear.Read<uint>(0xFEE00020));
        _cpus[1].Linear.Write(0xFEE00080, 0x50u);
        Assert.Equal(5, _apics[1].Cr8);
        Assert.Equal(0, _apics[0].Cr8);
        Assert.Equal(uint.MaxValue, _physical.Read(0xFEE00020, 4));
    }

    [Fact]
    public void An_apic_on_top_of_ram_hides_it_from_its_vcpu_only()
    {
        const ulong Page = 0x200000;
        VirtualCpu cpu = _cpus[0];
        cpu.Linear.Write(Page + 0x30, 0x12345678u);
        Assert.Equal(0x12345678u, cpu.Linear.Read<uint>(Page + 0x30));
        Assert.True(_apics[0].TryWriteApicBase(Page | 0x900));
        Assert.NotEqual(0, cpu.State->PendingEvents & (int)PendingEvents.Flush);
        cpu.Tlb.FlushIfRequested();
        Assert.Equal(0x1050014u, cpu.Linear.Read<uint>(Page + 0x30));
        Assert.Equal(0x1050014u, cpu.Linear.Read<uint>(Page + 0x30));
        byte[] block = new byte[4];
        cpu.Linear.ReadBlock(Page + 0x30, block);
        Assert.Equal(0x14, block[0]);
        Assert.True(cpu.Linear.HostPointerForUpdate(Page + 0x30, 4, out _) == null);
        Assert.Equal(0x12345678u, _cpus[1].Linear.Read<uint>(Page + 0x30));
        Assert.True(_apics[0].TryWriteApicBase(0xFEE00900));
        cpu.Tlb.FlushIfRequested();
        Assert.Equal(0x12345678u, cpu.Linear.Read<uint>(Page + 0x30));
    }

    [Fact]
    public void Protecting_a_page_reaches_the_tlbs_of_all_views()
    {
        int seen = 0;
        _memory.WatchedPageWritten += (_, _) => seen++;
        foreach (VirtualCpu cpu in _cpus)
            cpu.Linear.Write(0x300000, 1u);
        _cpus[0].Physical.Protect(0x300000, PageFlags.Code);
        foreach (VirtualCpu cpu in _cpus)
            cpu.Linear.Write(0x300000, 2u);
        Assert.Equal(2, seen);
    }

    [Fact]
    public void The_a20_gate_is_one_for_all_views()
    {
        _cpus[0].Physical.SetA20(false);
        Assert.Equal(_cpus[0].Physical.AddressMask, _cpus[1].Physical.AddressMask);
        Assert.Equal(~(1UL << 20), _physical.AddressMask);
        _physical.SetA20(true);
        Assert.Equal(ulong.MaxValue, _cpus[0].Physical.AddressMask);
    }

    [Fact]
    public void A_start_up_ipi_right_behind_init_is_not_lost_with_it()
    {
        _apics[0].Write(ApicRegister.SpuriousVector, 4, 0x1FF);
        _apics[0].Write(ApicRegister.InterruptCommandHigh, 4, 1 << 24);
        _apics[0].Write(ApicRegister.InterruptCommand, 4, 0x4500);
        _apics[0].Write(ApicRegister.InterruptCommand, 4, 0x4608);
        VirtualCpu ap = _cpus[1];
        Assert.Equal((int)(PendingEvents.Init | PendingEvents.Sipi), ap.State->PendingEvents & ~(int)PendingEvents.Flush);
        *(ulong*)(_memory.Base + 0x8000) = 0xF4;
        ap.State->Cr2 = 5;
        ap.State->Lstar = 0x1234;
        ap.Init();
        ap.Apic.Init();
        Assert.Equal((int)PendingEvents.Sipi, ap.State->PendingEvents & ~(int)PendingEvents.Flush);
        Assert.Equal(ActivityState.WaitForSipi, ap.State->Activity);
        Assert.Equal(8, ap.Apic.SipiVector);
        Assert.Equal(0xF4ul, *(ulong*)(_memory.Base + 0x8000));
        Assert.Equal(0x1234ul, ap.State->Lstar);
        Assert.Equal(0ul, ap.State->Cr2);
    }
}
