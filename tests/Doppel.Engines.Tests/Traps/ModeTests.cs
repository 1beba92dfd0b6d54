using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Traps;

/// <summary>Changes of mode, start-up, address line 20, and what CPUID must not promise.</summary>
public sealed unsafe class ModeTests
{
    private const ushort Start = 0x9000;

    public static TheoryData<string> Engines => EngineGuest.Engines;

    [Theory]
    [MemberData(nameof(Engines))]
    public void Limits_outlive_the_return_to_real_mode(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Write64(EngineGuest.Data, 0x12345678);
        guest.Assemble(16, Start, a =>
        {
            a.mov(eax, cr0);
            a.or(al, 1);
            a.mov(cr0, eax);
            a.mov(bx, EngineGuest.Data64);
            a.mov(ds, ebx);
            a.and(al, 0xFE);
            a.mov(cr0, eax);
            a.xor(bx, bx);
            a.mov(ds, ebx);
            a.mov(esi, (int)EngineGuest.Data);
            a.mov(ecx, __dword_ptr[esi]);
            a.hlt();
        });
        guest.EnterReal(Start);
        guest.RunToHalt();
        Assert.True(guest.State->IsRealMode);
        Assert.Equal((0x12345678UL, uint.MaxValue), (guest.Rcx, guest.State->Ds.Limit));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void A_real_mode_offset_beyond_64_KiB_is_a_protection_fault(string engine)
    {
        using var guest = new EngineGuest(engine);
        guest.Write(4 * 13, [0x00, 0xA0, 0x00, 0x00]);
        guest.Write(0xA000, [0xF4]);
        guest.Assemble(16, Start, a =>
        {
            a.mov(esi, 0x10000);
            a.mov(ecx, __dword_ptr[esi]);
            a.hlt();
        });
        guest.EnterReal(Start);
        guest.RunToHalt();
        Assert.Equal(0xA001UL, guest.State->Rip);
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void Protection_and_paging_act_at_once_and_the_stale_code_segment_goes_on(string engine)
    {
        using var guest = new EngineGuest(engine);
        ulong[] far = guest.Assemble(64, EngineGuest.Code, a =>
        {
            Label entry = a.CreateLabel();
            a.nop();
            a.Label(ref entry);
            a.mov(rdx, 0x1122334455667788);
            a.hlt();
            return [entry];
        });
        guest.Assemble(16, Start, a =>
        {
            a.mov(eax, cr0);
            a.or(al, 1);
            a.mov(cr0, eax);
            // 16-bit code still, in protected mode: a data segment loads by its descriptor.
            a.mov(bx, EngineGuest.Data64);
            a.mov(ds, ebx);
            a.inc(esi);
            a.mov(eax, (int)Cr4.Pae);
            a.mov(cr4, eax);
            a.mov(eax, (int)EngineGuest.Tables);
            a.mov(cr3, eax);
            a.mov(ecx, 0xC0000080);
            a.xor(edx, edx);
            a.mov(eax, (int)Efer.Lme);
            a.wrmsr();
            a.mov(eax, cr0);
            a.or(eax, unchecked((int)Cr0.Pg));
            a.mov(cr0, eax);
            // Compatibility mode with the segment of real mode, through the page tables.
            a.inc(esi);
            a.mov(ebp, (int)EngineGuest.Data);
            a.mov(edi, __dword_ptr.ds[ebp]);
            a.db(0x66, 0xEA, 1, 0, 0x20, 0, 0x08, 0);
        });
        guest.Write64(EngineGuest.Data, 0xCAFE);
        Assert.Equal(EngineGuest.Code + 1, far[0]);
        guest.EnterReal(Start);
        guest.RunToHalt();
        Assert.True(guest.State->Is64Bit);
        Assert.Equal((0x1122334455667788UL, 2UL, 0xCAFEUL), (guest.Rdx, guest.Rsi, guest.Rdi));
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void With_line_20_closed_the_second_megabyte_is_the_first(string engine)
    {
        foreach (bool isOpen in new[] { true, false })
        {
            using var guest = new EngineGuest(engine);
            guest.Write64(0x100500, 0x22);
            guest.Write64(0x000500, 0x11);
            guest.Assemble(16, Start, a =>
            {
                a.mov(ax, 0xFFFF);
                a.mov(es, eax);
                a.mov(esi, 0x510);
                a.mov(bl, __byte_ptr.es[si]);
                a.hlt();
            });
            guest.Cpu.Physical.SetA20(isOpen);
            guest.EnterReal(Start);
            guest.RunToHalt();
            Assert.Equal(isOpen ? 0x22UL : 0x11, guest.Rbx);
        }
    }

    [Theory]
    [MemberData(nameof(Engines))]
    public void An_application_processor_starts_in_real_mode_at_the_page_of_its_vector(string engine)
    {
        using var guest = new EngineGuest(engine, index: 1);
        guest.Assemble(16, Start, a =>
        {
            a.mov(bx, cs);
            a.inc(esi);
            a.hlt();
        });
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
        Assert.Equal((ActivityState.WaitForSipi, 0UL), (guest.State->Activity, guest.State->InstructionsRetired));
        guest.State->Pat = 0x0606060606060606;
        guest.Cpu.Signal(PendingEvents.Init);
        guest.Apic.SipiVector = Start >> 12;
        guest.Cpu.Signal(PendingEvents.Sipi);
        guest.RunToHalt();
        Assert.True(guest.State->IsRealMode);
        Assert.Equal((0x0900UL, 1UL, 0x9000UL), (guest.Rbx, guest.Rsi, guest.State->Cs.Base));
        // INIT leaves memory types alone, and a start-up IPI that comes again is ignored.
        Assert.Equal(0x0606060606060606UL, guest.State->Pat);
        guest.Cpu.Signal(PendingEvents.Sipi);
        guest.RunToHalt();
        Assert.Equal(1UL, guest.Rsi);
    }

    [Theory]
    [InlineData("x86-64-v2")]
    [InlineData("x86-64-v3")]
    public void No_paravirtual_interface_is_announced_or_answers(string name)
    {
        using var guest = new EngineGuest("interpreter", CpuModels.Find(name));
        guest.EnterLong();
        CpuidResult signature = Cpuid.Query(guest.Cpu, 0x40000000, 0);
        string text = string.Concat(new[] { signature.Ebx, signature.Ecx, signature.Edx }.SelectMany(BitConverter.GetBytes).Select(b => (char)b));
        Assert.DoesNotContain(text, new[] { "KVMKVMKVM\0\0\0", "Microsoft Hv", "XenVMMXenVMM", "VMwareVMware" });
        for (uint leaf = 0x40000001; leaf < 0x40000010; leaf++)
            Assert.Equal(default, Cpuid.Query(guest.Cpu, leaf, 0));
        Assert.Equal(default, Cpuid.Query(guest.Cpu, 0x40000100, 0));
        // kvmclock in both its places, asynchronous page faults, steal time, EOI; Hyper-V's guest id, hypercall page and time.
        foreach (uint msr in new uint[] { 0x11, 0x12, 0x4B564D00, 0x4B564D01, 0x4B564D02, 0x4B564D03, 0x4B564D04, 0x40000000, 0x40000001, 0x40000020 })
        {
            Assert.False(Msrs.TryRead(guest.Cpu, msr, out _));
            Assert.False(Msrs.TryWrite(guest.Cpu, msr, 1));
        }
    }
}
