using Doppel.Engines.Kvm;
using Doppel.Engines.Tests.Guests;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Memory;
using Doppel.Machine.State;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>Guests of a few instructions by KVM, in real, protected and 64-bit mode; a KVM that only emulates runs them too.</summary>
public sealed unsafe class KvmEngineTests
{
    private const ushort RealCode = 0x7000;
    private const uint Device = 0xFEC00000;
    private const byte Recorder = (byte)PortRecorder.Port;

    [KvmFact]
    public void Real_mode_reaches_ports_and_halts()
    {
        using EngineGuest guest = Create();
        var recorder = new PortRecorder();
        guest.Ports.Map(PortRecorder.Port, 4, recorder);
        guest.Assemble(16, RealCode, c =>
        {
            c.@in(al, Recorder);
            c.mov(bl, al);
            c.@in(ax, Recorder);
            c.mov(cx, ax);
            c.@in(eax, Recorder);
            c.@out(Recorder, eax);
            c.mov(ax, 0x1234);
            c.@out(Recorder, ax);
            c.@out(Recorder, al);
            c.hlt();
        });
        guest.EnterReal(RealCode);
        guest.RunToHalt();
        Assert.Equal([1, 2, 4], recorder.ReadSizes);
        Assert.Equal([(4, 0xB4B3B2B1UL), (2, 0x1234UL), (1, 0x34UL)], recorder.Written);
        Assert.Equal(0xB1UL, guest.Rbx & 0xFF);
        Assert.Equal(0xB2B1UL, guest.Rcx & 0xFFFF);
        Assert.Equal(ActivityState.Halted, guest.State->Activity);
        Assert.Equal(0xF4, guest.Read(guest.State->Rip - 1, 1)[0]);
    }

    [KvmFact]
    public void String_port_instructions_move_each_element()
    {
        using EngineGuest guest = Create();
        guest.Write(0x6000, "Doppel!"u8);
        guest.Assemble(16, RealCode, c =>
        {
            c.mov(si, 0x6000);
            c.mov(cx, 7);
            c.mov(dx, SignalPorts.Sink);
            c.rep.outsb();
            c.hlt();
        });
        guest.EnterReal(RealCode);
        guest.RunToHalt();
        Assert.Equal("Doppel!"u8.ToArray(), guest.Signals.Sunk);
        Assert.Equal(0x6007UL, guest.Rsi);
    }

    [KvmFact]
    public void Protected_mode_reaches_memory_mapped_registers()
    {
        using EngineGuest guest = Create();
        guest.Assemble(32, EngineGuest.Code, c =>
        {
            c.mov(edi, Device);
            c.mov(eax, 0x41);
            c.mov(__byte_ptr[edi + 2], al);
            c.mov(__byte_ptr[edi + 2], al);
            c.hlt();
        });
        EnterProtected(guest);
        guest.RunToHalt();
        Assert.Equal([0x41, 0x41], guest.Signals.Sunk);
        Assert.Equal((ulong)Device, guest.Rdi);
        Assert.Contains(guest.Engine.GetStatistics().Exits, exit => exit is { Reason: "memory-mapped I/O", Count: 2 });
    }

    [KvmFact]
    public void An_interrupt_wakes_a_halted_guest_and_goes_through_its_vector()
    {
        using EngineGuest guest = Create();
        WriteRealHandler(guest, 0x40);
        guest.Assemble(16, RealCode, c =>
        {
            c.sti();
            c.hlt();
            c.mov(cx, 0x77);
            c.cli();
            c.hlt();
        });
        guest.EnterReal(RealCode);
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
        guest.Apic.Raise(0x40);
        guest.RunToHalt();
        Assert.Equal(1UL, guest.Rbx);
        Assert.Equal(0x77UL, guest.Rcx);
        Assert.Equal(1UL, guest.Engine.GetStatistics().Interrupts);
    }

    [KvmFact]
    public void An_interrupt_waits_until_the_guest_takes_interrupts()
    {
        using EngineGuest guest = Create();
        WriteRealHandler(guest, 0x41);
        guest.Assemble(16, RealCode, c =>
        {
            c.mov(al, 0x41);
            c.@out(SignalPorts.Interrupt, al);
            c.mov(dx, bx);
            c.sti();
            Label turn = c.CreateLabel();
            c.Label(ref turn);
            c.test(bx, bx);
            c.je(turn);
            c.cli();
            c.hlt();
        });
        guest.EnterReal(RealCode);
        guest.RunToHalt();
        Assert.Equal(0UL, guest.Rdx & 0xFFFF);
        Assert.Equal(1UL, guest.Rbx);
    }

    [KvmFact]
    public void An_nmi_needs_no_interrupt_flag()
    {
        using EngineGuest guest = Create();
        WriteRealHandler(guest, 2);
        guest.Assemble(16, RealCode, c =>
        {
            c.@out(SignalPorts.Nmi, al);
            c.nop();
            c.nop();
            c.hlt();
        });
        guest.EnterReal(RealCode);
        guest.RunToHalt();
        Assert.Equal(1UL, guest.Rbx);
    }

    [KvmFact]
    public void Writes_are_logged_page_by_page()
    {
        using EngineGuest guest = Create();
        guest.Assemble(16, RealCode, c =>
        {
            c.mov(__byte_ptr[0x3000], al);
            c.hlt();
            c.mov(__byte_ptr[0x5000], al);
            c.hlt();
        });
        guest.EnterReal(RealCode);
        var before = PageSet.For(guest.Memory);
        guest.Memory.TakeDirtyPages(before);
        guest.RunToHalt();
        Assert.Equal([3UL], Taken(guest.Memory));
        Assert.Empty(Taken(guest.Memory));
        guest.State->Activity = ActivityState.Running;
        guest.RunToHalt();
        Assert.Equal([5UL], Taken(guest.Memory));
    }

    [KvmFact]
    public void A_write_to_rom_is_ignored()
    {
        using EngineGuest guest = Create(memory => memory.AddRom(0xA000, new byte[] { 0x55 }));
        guest.Assemble(16, RealCode, c =>
        {
            c.mov(__byte_ptr[0xA000], al);
            c.mov(bl, __byte_ptr[0xA000]);
            c.hlt();
        });
        guest.EnterReal(RealCode);
        guest.RunToHalt();
        Assert.Equal(0x55UL, guest.Rbx);
    }

    [KvmFact]
    public void A_kick_ends_an_endless_loop_each_time()
    {
        const int Times = 200;
        using EngineGuest guest = Create();
        guest.Assemble(16, RealCode, c =>
        {
            Label turn = c.CreateLabel();
            c.Label(ref turn);
            c.jmp(turn);
        });
        guest.EnterReal(RealCode);
        using var entering = new SemaphoreSlim(0);
        var random = new Random(1);
        var kicker = new Thread(() =>
        {
            for (int i = 0; i < Times; i++)
            {
                entering.Wait();
                // Before, while and after the guest is entered.
                Thread.SpinWait(random.Next(20_000));
                guest.Cpu.Signal(PendingEvents.Kick);
            }
        });
        kicker.Start();
        for (int i = 0; i < Times; i++)
        {
            _ = entering.Release();
            Assert.Equal(ExitReason.Kick, guest.Engine.Run(ulong.MaxValue));
        }

        kicker.Join();
        guest.Engine.Settle();
        Assert.Equal((ulong)RealCode, guest.State->Rip);
    }

    [KvmFact]
    public void A_triple_fault_shuts_the_guest_down()
    {
        using EngineGuest guest = Create();
        guest.Assemble(32, EngineGuest.Code, c => c.ud2());
        EnterProtected(guest);
        guest.State->Idtr = default;
        Assert.Equal(ExitReason.Shutdown, guest.Engine.Run(ulong.MaxValue));
        Assert.Equal(ActivityState.Shutdown, guest.State->Activity);
    }

    [KvmFact]
    public void A_start_up_ipi_starts_a_second_vcpu()
    {
        using var guest = new EngineGuest("kvm", Model, index: 1, Clock());
        guest.Assemble(16, 0x8000, c =>
        {
            c.mov(bx, cs);
            c.hlt();
        });
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
        guest.Apic.SipiVector = 8;
        guest.Cpu.Signal(PendingEvents.Sipi);
        guest.RunToHalt();
        Assert.Equal(0x800UL, guest.Rbx);
        Assert.Equal(3UL, guest.State->Rip);
    }

    [KvmFact]
    public void What_the_kernel_cannot_execute_is_interpreted()
    {
        using EngineGuest guest = Create();
        RunLong(guest, c =>
        {
            c.mov(eax, 21);
            c.movq(xmm1, rax);
            c.paddq(xmm1, xmm1);
            c.movq(rbx, xmm1);
            c.hlt();
        });
        Assert.Equal(42UL, guest.Rbx);
        Assert.Equal(42UL, *(ulong*)guest.State->Xmm(1));
    }

    [KvmFact]
    public void Registers_that_do_not_exist_fault_and_those_of_the_machine_answer()
    {
        using EngineGuest guest = Create();
        RunLong(guest, c =>
        {
            c.mov(ecx, 0x1B);
            c.rdmsr();
            c.mov(ebx, eax);
            c.mov(ecx, 0x277);
            c.mov(eax, 0x00070406);
            c.mov(edx, 0x00070106);
            c.wrmsr();
            c.mov(ecx, 0x12345);
            c.rdmsr();
            c.hlt();
        });
        Assert.Equal(0xFEE00900UL, guest.Rbx);
        Assert.Equal(0x0007010600070406UL, guest.State->Pat);
        Assert.Equal((int)ExceptionVector.GeneralProtection, guest.Vector);
    }

    [KvmFact]
    public void A_guest_goes_on_under_another_engine_and_back()
    {
        string[] engines = ["kvm", "interpreter", "kvm", "translator"];
        byte[]? saved = null;
        byte[] memory = [];
        ulong expected = 0;
        foreach (string engine in engines)
        {
            using var guest = new EngineGuest(engine, Model, clock: Clock());
            if (saved is null)
            {
                guest.Assemble(32, EngineGuest.Code, Counter);
                EnterProtected(guest);
            }
            else
            {
                guest.Write(0, memory);
                new CpuStateSection(guest.Cpu).Restore(new StateReader(saved), 1);
                guest.State->Activity = ActivityState.Running;
            }

            guest.RunToHalt();
            expected++;
            Assert.Equal(expected, guest.Rbx);
            Assert.Equal(0x1234_5678UL + expected, guest.State->Gpr[5]);
            Assert.Equal(CpuFlags.Cf, guest.State->Flags & CpuFlags.Cf);
            var writer = new StateWriter();
            new CpuStateSection(guest.Cpu).Save(writer);
            saved = writer.ToArray();
            memory = guest.Read(0, 16 << 20);
        }
    }

    // What a KVM that only emulates has.
    private static CpuModel Model { get; } = new()
    {
        Name = "small",
        Signature = 0x000806F8,
        PhysicalAddressBits = 36,
        Has1GiBPages = false,
        Features = default(CpuFeatureSet).With(
            CpuFeature.Fpu, CpuFeature.Tsc, CpuFeature.Msr, CpuFeature.Pae, CpuFeature.Cx8, CpuFeature.Apic, CpuFeature.Cmov, CpuFeature.Pat,
            CpuFeature.Fxsr, CpuFeature.Sse, CpuFeature.Sse2, CpuFeature.Syscall, CpuFeature.Nx, CpuFeature.Lm),
    };

    private static FrozenClock Clock() => new() { TscFrequency = KvmMachine.FindTscFrequency() };

    internal static EngineGuest Create(Action<GuestMemory>? prepare = null) => new("kvm", Model, clock: Clock(), prepare: prepare);

    private static IEnumerable<ulong> Taken(GuestMemory memory)
    {
        var pages = PageSet.For(memory);
        memory.TakeDirtyPages(pages);
        return pages.Runs().SelectMany(run => Enumerable.Range(0, (int)run.Count).Select(i => run.First + (ulong)i));
    }

    private static void Counter(Assembler c)
    {
        Label turn = c.CreateLabel();
        c.mov(ebp, 0x1234_5678);
        c.Label(ref turn);
        c.inc(ebx);
        c.inc(ebp);
        c.stc();
        c.hlt();
        c.jmp(turn);
    }

    // Counts in BX.
    private static void WriteRealHandler(EngineGuest guest, int vector)
    {
        const ushort Handler = 0x7800;
        guest.Write(4 * (ulong)vector, [Handler & 0xFF, Handler >> 8, 0, 0]);
        guest.Assemble(16, Handler, c =>
        {
            c.inc(bx);
            c.iret();
        });
        guest.State->Idtr = new DescriptorTableRegister { Limit = 0x3FF };
    }

    private static void RunLong(EngineGuest guest, Action<Assembler> program)
    {
        guest.Assemble(64, EngineGuest.Code, program);
        guest.EnterLong();
        guest.State->Cr4 &= ~(Cr4.Osxsave | Cr4.De);
        guest.State->Xcr0 = 1;
        guest.RunToHalt();
    }

    internal static void EnterProtected(EngineGuest guest)
    {
        const uint Data = 0xC093, CodeRights = 0xC09B;
        CpuState* s = guest.State;
        s->Cr0 = Cr0.Pe | Cr0.Et | Cr0.Ne;
        s->Gdtr = new DescriptorTableRegister { Base = EngineGuest.Gdt, Limit = 0x4F };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = new SegmentRegister { Selector = EngineGuest.Data64, Limit = uint.MaxValue, Attributes = (SegmentAttributes)Data };
        s->Cs = new SegmentRegister { Selector = EngineGuest.Code32, Limit = uint.MaxValue, Attributes = (SegmentAttributes)CodeRights };
        s->Gpr[4] = EngineGuest.Stack;
        s->Rip = EngineGuest.Code;
        s->Activity = ActivityState.Running;
        guest.Cpu.ModeChanged();
    }
}
