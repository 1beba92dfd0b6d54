using Doppel.Machine.Cpu;
using Doppel.Machine.Interrupts;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>Local APICs in the kernel: what ends there, what comes here, and how their state moves. A KVM that only emulates has them too.</summary>
public sealed unsafe class KvmLocalApicTests
{
    private const byte Vector = 0x40;
    private const int Self = (1 << 18) | 0x4000;

    [KvmFact]
    public void Ipis_and_their_ends_do_not_leave_the_kernel()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, End);
        guest.Enter(c =>
        {
            c.sti();
            for (int i = 1; i <= 3; i++)
            {
                c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], Self | Vector);
                WaitFor(c, Vector, i);
            }

            c.@out(ApicGuest.EndPort, al);
        });
        guest.Run();
        Assert.Equal(3, guest.CountOf(Vector));
        Assert.DoesNotContain(guest.Engine.GetStatistics().Exits, exit => exit.Reason is "memory-mapped I/O" or "interrupt window");
        Assert.True(guest.Engine.GetStatistics().Interrupts >= 3);
    }

    [KvmFact]
    public void A_message_of_a_device_wakes_a_halted_guest()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, Finish);
        guest.Enter(Halt);
        using var timer = new Timer(_ => guest.Bus.Deliver(0xFEE00000, Vector), null, 50, Timeout.Infinite);
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.DoesNotContain(guest.Engine.GetStatistics().Exits, exit => exit.Reason == "halt");
    }

    [KvmFact]
    public void The_end_of_a_level_triggered_interrupt_reaches_the_ioapic()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, c =>
        {
            c.cmp(__word_ptr[0x6000 + (2 * Vector)], 3);
            Label more = c.CreateLabel();
            c.jne(more);
            c.@out(ApicGuest.DropPort, al);
            c.Label(ref more);
            End(c);
        });
        Redirect(guest, 0x8000 | Vector);
        guest.Enter(c =>
        {
            c.sti();
            WaitFor(c, Vector, 3);
            c.@out(ApicGuest.EndPort, al);
        });
        guest.IoApic.Pin(ApicGuest.LevelInput).Set(true);
        guest.Run();
        Assert.Equal(3, guest.CountOf(Vector));
        Assert.Contains(guest.Engine.GetStatistics().Exits, exit => exit is { Reason: "end of interrupt", Count: 3 });
        Assert.Equal(0u, ReadRedirection(guest) & 0x4000);
    }

    [KvmFact]
    public void An_end_that_is_not_to_be_broadcast_leaves_the_ioapic_alone()
    {
        using var guest = new ApicGuest("kvm");
        guest.Apics[0].Write(ApicRegister.SpuriousVector, 4, 0x11FF);
        guest.Handle(Vector, Finish);
        Redirect(guest, 0x8000 | Vector);
        guest.Enter(Halt);
        guest.IoApic.Pin(ApicGuest.LevelInput).Set(true);
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.Equal(0x4000u, ReadRedirection(guest) & 0x4000);
    }

    [KvmFact]
    public void The_8259s_interrupt_a_halted_guest_through_lint0()
    {
        using var guest = new ApicGuest("kvm");
        var pic = new OneInterrupt(guest.Apics[0].Lint0, Vector);
        guest.Apics[0].ExternalSource = pic;
        guest.Handle(Vector, c => c.@out(ApicGuest.EndPort, al));
        guest.Enter(Halt);
        using var timer = new Timer(_ => pic.Raise(), null, 50, Timeout.Infinite);
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.False(pic.IsAsserted);
    }

    [KvmFact]
    public void A_masked_lint0_keeps_the_8259s_waiting()
    {
        using var guest = new ApicGuest("kvm");
        var pic = new OneInterrupt(guest.Apics[0].Lint0, Vector);
        guest.Apics[0].ExternalSource = pic;
        guest.Handle(Vector, c => c.@out(ApicGuest.EndPort, al));
        guest.Handle(Vector + 1, End);
        guest.Enter(c =>
        {
            c.mov(__dword_ptr.gs[ApicRegister.LvtLint0], 0x10700);
            c.sti();
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], Self | (Vector + 1));
            WaitFor(c, Vector + 1, 1);
            c.mov(bx, __word_ptr[0x6000 + (2 * Vector)]);
            c.mov(__dword_ptr.gs[ApicRegister.LvtLint0], 0x700);
            Halt(c);
        });
        pic.Raise();
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.Equal(1, guest.CountOf(Vector + 1));
        Assert.Equal(0UL, guest.State->Gpr[3] & 0xFFFF);
    }

    [KvmTheory]
    [InlineData(0)]
    [InlineData(1 << 17)]
    public void The_timer_counts_in_the_kernel(int mode)
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, Finish);
        guest.Enter(c =>
        {
            c.mov(__dword_ptr.gs[ApicRegister.DivideConfiguration], 0xB);
            c.mov(__dword_ptr.gs[ApicRegister.LvtTimer], mode | Vector);
            c.mov(__dword_ptr.gs[ApicRegister.InitialCount], 20_000_000);
            Halt(c);
        });
        long begin = guest.Clock.Now;
        guest.Run();
        Assert.True(guest.Clock.Now - begin >= 20_000_000);
        Assert.Equal(1, guest.CountOf(Vector));
    }

    [KvmFact]
    public void A_tsc_deadline_fires_in_the_kernel()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, Finish);
        guest.Enter(c =>
        {
            c.mov(__dword_ptr.gs[ApicRegister.LvtTimer], (2 << 17) | Vector);
            c.rdtsc();
            c.add(eax, 10_000_000);
            c.adc(edx, 0);
            c.mov(ecx, 0x6E0);
            c.wrmsr();
            Halt(c);
        });
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.DoesNotContain(guest.Engine.GetStatistics().Exits, exit => exit.Reason == "MSR");
    }

    [KvmFact]
    public void The_x2apic_is_entered_through_this_process()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, c =>
        {
            c.mov(ecx, 0x80B);
            c.xor(eax, eax);
            c.xor(edx, edx);
            c.wrmsr();
        });
        guest.Enter(c =>
        {
            c.mov(ecx, 0x1B);
            c.rdmsr();
            c.or(eax, 1 << 10);
            c.wrmsr();
            c.sti();
            c.mov(ecx, 0x83F);
            c.mov(eax, Vector);
            c.xor(edx, edx);
            c.wrmsr();
            WaitFor(c, Vector, 1);
            c.mov(ecx, 0x802);
            c.rdmsr();
            c.@out(ApicGuest.EndPort, al);
        });
        guest.Run();
        Assert.Equal(1, guest.CountOf(Vector));
        Assert.Equal(0xFEE00D00UL, guest.Apics[0].ApicBase);
        Assert.Equal(0UL, guest.State->Gpr[0] & 0xFF);
    }

    [KvmTheory]
    [InlineData("kvm", "interpreter")]
    [InlineData("interpreter", "kvm")]
    [InlineData("kvm", "kvm")]
    public void What_is_requested_in_service_and_counted_goes_on_elsewhere(string from, string to)
    {
        using var first = new ApicGuest(from);
        first.Handle(0x60, c =>
        {
            // While it is in service: one is requested below it, and a timer counts for another above.
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], Self | 0x50);
            c.mov(__dword_ptr.gs[ApicRegister.LvtTimer], 0x70);
            c.mov(__dword_ptr.gs[ApicRegister.DivideConfiguration], 0xB);
            c.mov(__dword_ptr.gs[ApicRegister.InitialCount], 30_000_000);
            c.@out(ApicGuest.EndPort, al);
            c.sti();
            WaitFor(c, 0x70, 1);
            c.mov(bx, __word_ptr[0x6000 + (2 * 0x50)]);
            End(c);
        });
        first.Handle(0x50, End);
        first.Handle(0x70, End);
        first.Enter(c =>
        {
            c.mov(__dword_ptr.gs[ApicRegister.TaskPriority], 0x20);
            c.sti();
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], Self | 0x60);
            WaitFor(c, 0x50, 1);
            c.@out(ApicGuest.EndPort, al);
        });
        first.Run();
        Assert.Equal((1, 0, 0), (first.CountOf(0x60), first.CountOf(0x50), first.CountOf(0x70)));

        using var second = new ApicGuest(to);
        first.MoveTo(second);
        Assert.Equal(2, second.Apics[0].Cr8);
        Assert.Equal(1UL << 16, second.Apics[0].Read(ApicRegister.Request + 0x20, 4));
        second.Run();
        Assert.Equal((1, 1, 1), (second.CountOf(0x60), second.CountOf(0x50), second.CountOf(0x70)));
        // A KVM without hardware below it may take the end of an interrupt for given when it delivers it.
        if (from == "interpreter")
            Assert.Equal(0UL, second.State->Gpr[3] & 0xFFFF);
    }

    [KvmFact]
    public void A_guest_that_is_interpreted_for_a_while_takes_its_interrupts_there()
    {
        using var guest = new ApicGuest("kvm");
        guest.Handle(Vector, End);
        guest.Enter(c =>
        {
            Label turn = c.CreateLabel();
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], Self | Vector);
            c.@out(ApicGuest.EndPort, al);
            c.sti();
            c.Label(ref turn);
            c.inc(cx);
            c.jmp(turn);
        });
        guest.Run();
        Assert.Equal(0, guest.CountOf(Vector));
        Assert.Equal(ExitReason.Budget, guest.Engine.Run(20));
        Assert.Equal(1, guest.CountOf(Vector));
        guest.Bus.Deliver(0xFEE00000, Vector);
        Assert.Equal(ExitReason.Budget, guest.Engine.Run(20));
        Assert.Equal(2, guest.CountOf(Vector));
        guest.Bus.Deliver(0xFEE00000, Vector);
        using var timer = new Timer(_ => guest.End(), null, 100, Timeout.Infinite);
        guest.Run();
        Assert.Equal(3, guest.CountOf(Vector));
    }

    [KvmFact]
    public void A_kick_is_not_lost_while_registers_are_loaded()
    {
        using var guest = new ApicGuest("kvm");
        guest.Enter(Halt);
        int seed = Environment.TickCount;
        var random = new Random(seed);
        for (int i = 0; i < 500; i++)
        {
            try
            {
                guest.Run(() =>
                {
                    Thread.SpinWait(random.Next(20_000));
                    guest.End();
                });
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"turn {i} of seed {seed}", e);
            }
        }
    }

    [KvmFact]
    public void A_second_vcpu_is_started_and_interrupted_by_the_first()
    {
        using var guest = new ApicGuest("kvm", 2);
        WriteTwo(guest);
        guest.Run();
        Assert.Equal(100, guest.CountOf(Vector));
        Assert.Equal(100UL, guest.State->Gpr[3] & 0xFFFF);
        Assert.DoesNotContain(guest.Engine.GetStatistics().Exits, exit => exit.Reason is "memory-mapped I/O" or "halt");
    }

    [KvmFact]
    public void Two_vcpus_lose_nothing_while_they_move_in_and_out_of_the_kernel()
    {
        using var guest = new ApicGuest("kvm", 2);
        WriteTwo(guest);
        // A closed A20 gate is interpreted: by turns by all.
        bool isClosed = false;
        using var timer = new Timer(
            _ =>
            {
                isClosed = !isClosed;
                guest.Cpu.Physical.SetA20(!isClosed);
                guest.Cpus.ForEach(cpu => cpu.Signal(PendingEvents.Kick));
            },
            null,
            1,
            3);
        guest.Run();
        Assert.Equal(100, guest.CountOf(Vector));
        Assert.Equal(100UL, guest.State->Gpr[3] & 0xFFFF);
    }

    // The first interrupts the second, whose handler interrupts the first; a hundred times.
    private static void WriteTwo(ApicGuest guest)
    {
        const ushort Second = 0x9000, Flag = 0x5F00;
        const byte Answer = 0x41;
        guest.Handle(Vector, c =>
        {
            End(c);
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommandHigh], 0);
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], 0x4000 | Answer);
        });
        guest.Handle(Answer, End);
        guest.Assemble(Second, c =>
        {
            // GS reaches the registers by what real mode leaves of a limit of 4 GiB.
            c.xor(ax, ax);
            c.mov(ds, ax);
            c.mov(ss, ax);
            c.mov(sp, 0x8F00);
            c.db(0x66, 0x0F, 0x01, 0x16, 0x00, 0x5E);
            c.mov(eax, cr0);
            c.or(al, 1);
            c.mov(cr0, eax);
            c.mov(bx, 8);
            c.mov(gs, bx);
            c.and(al, 0xFE);
            c.mov(cr0, eax);
            c.mov(__dword_ptr.gs[ApicRegister.SpuriousVector], 0x1FF);
            c.mov(__byte_ptr[Flag], 1);
            Halt(c);
        });
        // A table for LGDT, whose descriptor 8 has the base FEE00000h.
        new byte[] { 15, 0, 0x10, 0x5E, 0, 0 }.CopyTo(guest.Memory[0x5E00..]);
        new byte[] { 0xFF, 0xFF, 0, 0, 0xE0, 0x93, 0, 0xFE }.CopyTo(guest.Memory[0x5E18..]);
        guest.Enter(c =>
        {
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommandHigh], 1 << 24);
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], 0x4500);
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], 0x4600 | (Second >> 12));
            Label started = c.CreateLabel(), turn = c.CreateLabel(), answered = c.CreateLabel();
            c.Label(ref started);
            c.cmp(__byte_ptr[Flag], 0);
            c.je(started);
            c.xor(bx, bx);
            c.Label(ref turn);
            c.inc(bx);
            c.mov(__dword_ptr.gs[ApicRegister.InterruptCommand], 0x4000 | Vector);
            c.Label(ref answered);
            c.sti();
            c.hlt();
            c.cli();
            c.cmp(__word_ptr[0x6000 + (2 * Answer)], bx);
            c.jb(answered);
            c.cmp(bx, 100);
            c.jb(turn);
            c.@out(ApicGuest.EndPort, al);
        });
    }

    // An emulator looks for interrupts when it likes.
    private static void WaitFor(Assembler c, int vector, int count)
    {
        Label turn = c.CreateLabel();
        c.Label(ref turn);
        c.cmp(__word_ptr[0x6000 + (2 * vector)], count);
        c.jb(turn);
    }

    private static void End(Assembler c) => c.mov(__dword_ptr.gs[ApicRegister.Eoi], 0);

    private static void Finish(Assembler c)
    {
        End(c);
        c.@out(ApicGuest.EndPort, al);
    }

    private static void Halt(Assembler c)
    {
        Label turn = c.CreateLabel();
        c.Label(ref turn);
        c.sti();
        c.hlt();
        c.jmp(turn);
    }

    private static void Redirect(ApicGuest guest, uint low)
    {
        guest.IoApic.Write(0, 4, 0x10 + (2 * ApicGuest.LevelInput));
        guest.IoApic.Write(0x10, 4, low);
    }

    private static uint ReadRedirection(ApicGuest guest)
    {
        guest.IoApic.Write(0, 4, 0x10 + (2 * ApicGuest.LevelInput));
        return (uint)guest.IoApic.Read(0x10, 4);
    }

    private sealed class OneInterrupt(IInterruptLine line, int vector) : IExternalInterruptSource
    {
        private volatile bool _isAsserted;

        public bool IsAsserted => _isAsserted;

        public int Acknowledge()
        {
            _isAsserted = false;
            line.Set(false);
            return vector;
        }

        internal void Raise()
        {
            _isAsserted = true;
            line.Set(true);
        }
    }
}
