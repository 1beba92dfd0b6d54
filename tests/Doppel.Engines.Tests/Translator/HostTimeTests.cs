using Doppel.Engines.Tests.Guests;
using Doppel.Engines.Translator;
using Doppel.Host.Memory;
using Doppel.Host.Processor;
using Doppel.Machine.Bus;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Memory;
using Doppel.Machine.Time;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Translator;

/// <summary>The guest's TSC in emitted code, beside the clock that it follows.</summary>
public sealed unsafe class HostTimeTests
{
    [Fact]
    public void The_TSC_of_emitted_code_follows_the_clock_and_never_goes_back()
    {
        if (!KernelCapabilities.KeepsTimeByTsc)
            return;
        using var followed = new Followed();
        (HostClock clock, VirtualCpu cpu, HostTime time) = (followed.Clock, followed.Cpu, followed.Time);
        cpu.TscSource = time.Read;
        long end = clock.Now + 400_000_000;
        ulong last = 0;
        bool wasKnown = false;
        while (clock.Now < end)
        {
            time.Update();
            ulong before = clock.Tsc;
            ulong now = TimeStampCounter.Read(cpu);
            Assert.True(now >= last, $"the TSC went from {last} back to {now}");
            last = now;
            wasKnown |= *(ulong*)((byte*)cpu.State + SystemSlots.TscScale) != 0;
            // Far more than the line is off, far less than the clock advances in the test.
            Assert.InRange((long)(now - before), -10_000_000, 100_000_000);
        }

        Assert.True(wasKnown, "the line was never known");
    }

    [Fact]
    public void A_guest_that_reads_it_in_every_way_sees_one_line_of_time()
    {
        using var clock = new HostClock(new Lock());
        clock.Resume();
        using var guest = new EngineGuest("translator", clock: clock);
        guest.Run(a =>
        {
            Label loop = a.CreateLabel(), back = a.CreateLabel();
            a.mov(rdi, 1_000_000);
            a.Label(ref loop);
            a.rdtsc();
            Compare(a, back);
            a.mov(ecx, 0x10);
            a.rdmsr();
            Compare(a, back);
            a.rdtscp();
            Compare(a, back);
            a.dec(rdi);
            a.jnz(loop);
            a.Label(ref back);
            a.hlt();
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(0UL, guest.Rdi);
        Assert.Equal(KernelCapabilities.KeepsTimeByTsc, *(ulong*)((byte*)guest.State + SystemSlots.TscScale) != 0);
    }

    // RBX holds the last reading.
    private static void Compare(Assembler a, Label back)
    {
        a.shl(rdx, 32);
        a.or(rax, rdx);
        a.cmp(rax, rbx);
        a.jb(back);
        a.mov(rbx, rax);
    }

    [Fact]
    public void A_clock_that_stood_still_is_asked_again()
    {
        if (!KernelCapabilities.KeepsTimeByTsc)
            return;
        using var followed = new Followed();
        (VirtualCpu cpu, HostTime time) = (followed.Cpu, followed.Time);
        ref ulong scale = ref *(ulong*)((byte*)cpu.State + SystemSlots.TscScale);
        while (scale == 0)
            time.Update();
        // As if the guest's clock had stood still for a second.
        *(ulong*)((byte*)cpu.State + SystemSlots.TscBias) += 1_000_000_000;
        time.Resume();
        time.Update();
        Assert.Equal(0UL, scale);
    }

    /// <summary>A vCPU without an engine, its clock, and the line that follows it.</summary>
    private sealed class Followed : IDisposable
    {
        private readonly GuestMemory _memory = new(1 << 20);
        private readonly ExecutableMemory _code = new("test", 4096);

        internal Followed()
        {
            var ioLock = new Lock();
            Clock = new HostClock(ioLock);
            Clock.Resume();
            var physical = new PhysicalAddressSpace(_memory, new IoBus("memory", ulong.MaxValue, ioLock));
            Cpu = new VirtualCpu(0, CpuModels.Version3, physical, new IoBus("ports", 0x10000, ioLock), Clock);
            var emitter = new Emitter(_code.Writable, _code.Writable + 4096);
            SystemStubs.EmitReadTsc(ref emitter);
            Time = new HostTime(Cpu, _code.Executable);
        }

        internal HostClock Clock { get; }

        internal VirtualCpu Cpu { get; }

        internal HostTime Time { get; }

        public void Dispose()
        {
            Cpu.Dispose();
            Clock.Dispose();
            _code.Dispose();
            _memory.Dispose();
        }
    }
}
