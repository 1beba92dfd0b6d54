using Doppel.Engines.Kvm;
using Doppel.Engines.Tests.Guests;
using Doppel.Host.Kvm;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Kvm;

/// <summary>A debugger's breakpoints in the processor's debug registers.</summary>
public sealed unsafe class KvmBreakpointTests
{
    private const ushort Code = 0x7000;

    [Fact]
    public void Registers_say_where_what_and_how_much()
    {
        var set = new BreakpointSet([new(BreakpointKind.Software, 0x1234, 0), new(BreakpointKind.Write, 0x2000, 4), new(BreakpointKind.Access, 0x3002, 2)]);
        KvmGuestDebug debug = KvmBreakpoints.TryPlace(set)!.Describe();
        Assert.Equal(KvmGuestDebug.Enable | KvmGuestDebug.UseRegisters, debug.Control);
        Assert.Equal(0x1234UL, debug.Registers[0]);
        Assert.Equal(0x2000UL, debug.Registers[1]);
        Assert.Equal(0x3002UL, debug.Registers[2]);
        // SDM volume 3, 18.2.4: global enable, and R/W and LEN from bit 16 on.
        Assert.Equal(0x700UL | 0x2A | (0x1UL << 20) | (0x3UL << 22) | (0x3UL << 24) | (0x1UL << 26), debug.Registers[7]);
    }

    [Fact]
    public void What_is_watched_is_split_into_aligned_parts()
    {
        var watch = new Breakpoint(BreakpointKind.Write, 0x1003, 13);
        var set = new BreakpointSet([watch]);
        KvmBreakpoints placed = KvmBreakpoints.TryPlace(set)!;
        KvmGuestDebug debug = placed.Describe();
        Assert.Equal([0x1003UL, 0x1004, 0x1008], new[] { debug.Registers[0], debug.Registers[1], debug.Registers[2] });
        Assert.Equal((watch, 0x1008UL), placed.Find(1 << 2, set));
        Assert.Null(placed.Find(0x4000, set));
    }

    [Fact]
    public void More_than_four_and_reads_alone_cannot_be_placed()
    {
        Assert.Null(KvmBreakpoints.TryPlace(new BreakpointSet(Enumerable.Range(0, 5).Select(i => new Breakpoint(BreakpointKind.Software, (ulong)i, 0)))));
        Assert.Null(KvmBreakpoints.TryPlace(new BreakpointSet([new(BreakpointKind.Write, 0x1000, 4096)])));
        Assert.Null(KvmBreakpoints.TryPlace(new BreakpointSet([new(BreakpointKind.Read, 0x1000, 4)])));
        Assert.NotNull(KvmBreakpoints.TryPlace(new BreakpointSet([new(BreakpointKind.Software, 1, 0), new(BreakpointKind.Hardware, 1, 0)])));
    }

    [KvmFact]
    public void The_processor_stops_at_a_breakpoint_each_time_it_comes_by()
    {
        using EngineGuest guest = KvmEngineTests.Create();
        ulong place = guest.Assemble(16, Code, c =>
        {
            Iced.Intel.Label turn = c.CreateLabel(), stop = c.CreateLabel();
            c.mov(cx, 3);
            c.xor(dx, dx);
            c.Label(ref turn);
            c.inc(bx);
            c.Label(ref stop);
            c.inc(dx);
            c.dec(cx);
            c.jne(turn);
            c.hlt();
            return [stop];
        })[0];
        guest.EnterReal(Code);
        var debug = new DebugControl { Breakpoints = new BreakpointSet([new(BreakpointKind.Software, place, 0)]) };
        guest.Cpu.Debug = debug;
        for (ulong time = 1; time <= 3; time++)
        {
            debug.Prepare(time == 1 ? null : place);
            Assert.Equal(ExitReason.Debug, guest.Engine.Run(ulong.MaxValue));
            Assert.Equal(new DebugStop(0, new Breakpoint(BreakpointKind.Software, place, 0), place), debug.Stop);
            Assert.Equal(place, guest.State->Rip);
            Assert.Equal(time, guest.Rbx);
            Assert.Equal(time - 1, guest.Rdx & 0xFFFF);
        }

        Assert.Contains(guest.Engine.GetStatistics().Exits, exit => exit is { Reason: "debug", Count: 3 });
        debug.Prepare(place);
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
        guest.Engine.Settle();
        Assert.Equal(3UL, guest.Rdx & 0xFFFF);
    }

    [KvmFact]
    public void Steps_are_the_interpreters()
    {
        using EngineGuest guest = KvmEngineTests.Create();
        guest.Assemble(16, Code, c =>
        {
            c.inc(bx);
            c.inc(bx);
            c.hlt();
        });
        guest.EnterReal(Code);
        var debug = new DebugControl { IsStepping = true };
        guest.Cpu.Debug = debug;
        debug.Prepare(null);
        Assert.Equal(ExitReason.Debug, guest.Engine.Run(ulong.MaxValue));
        Assert.Equal(1UL, guest.Rbx);
        debug.IsStepping = false;
        debug.Prepare(null);
        guest.RunToHalt();
        Assert.Equal(2UL, guest.Rbx);
    }
}
