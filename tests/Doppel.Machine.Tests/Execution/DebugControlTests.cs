using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Debugging;

namespace Doppel.Machine.Tests.Execution;

public sealed unsafe class DebugControlTests : IDisposable
{
    private const byte Nop = 0x90;
    private readonly ProgramGuest _guest = new();
    private readonly DebugControl _debug = new();

    public DebugControlTests()
    {
        _guest.Cpu.Debug = _debug;
        _guest.State->Rip = ProgramGuest.Code;
    }

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void A_step_leaves_an_interrupt_pending()
    {
        _guest.Load(ProgramGuest.Code, [Nop, Nop, Nop]);
        _guest.Cpu.Signal(PendingEvents.Nmi);
        Step(ProgramGuest.Code + 1);
        Step(ProgramGuest.Code + 2);
        Assert.True(_guest.Cpu.GetPendingEvents().HasFlag(PendingEvents.Nmi));
    }

    [Fact]
    public void A_step_may_enter_an_interrupts_handler_when_that_is_wanted()
    {
        _guest.Load(ProgramGuest.Code, [Nop]);
        _guest.Load(ProgramGuest.HandlerOf(2), [Nop, Nop]);
        _debug.StepsIntoInterrupts = true;
        _guest.Cpu.Signal(PendingEvents.Nmi);
        Step(ProgramGuest.HandlerOf(2) + 1);
        Assert.Equal(ProgramGuest.Code, _guest.Read64(_guest.State->Gpr[4]));
    }

    [Fact]
    public void A_step_from_hlt_ends_at_the_handler_that_woke_it()
    {
        _guest.Load(ProgramGuest.Code, [0xF4]);
        Step(ProgramGuest.Code + 1);
        _guest.Cpu.Signal(PendingEvents.Nmi);
        Step(ProgramGuest.HandlerOf(2));
    }

    [Fact]
    public void A_step_over_a_fault_ends_at_its_handler()
    {
        _guest.Load(ProgramGuest.Code, [0x0F, 0x0B]);
        Step(ProgramGuest.HandlerOf(6));
        Assert.Equal(ProgramGuest.Code, _guest.Read64(_guest.State->Gpr[4]));
    }

    [Fact]
    public void A_step_of_a_repeated_instruction_is_one_iteration()
    {
        _guest.Load(ProgramGuest.Code, [0xF3, 0xAA]); // rep stosb
        _guest.State->Gpr[1] = 2;
        _guest.State->Gpr[7] = ProgramGuest.Data;
        Step(ProgramGuest.Code);
        Assert.Equal(1ul, _guest.State->Gpr[1]);
        Step(ProgramGuest.Code + 2);
    }

    [Fact]
    public void Steps_leave_no_trace_in_the_guests_flags_and_debug_registers()
    {
        _guest.Load(ProgramGuest.Code, [0x9C, 0x58]); // pushfq; pop rax
        ulong status = _guest.State->Dr[6];
        Step(ProgramGuest.Code + 1);
        Step(ProgramGuest.Code + 2);
        Assert.Equal(0ul, _guest.State->Gpr[0] & CpuFlags.Tf);
        Assert.Equal(status, _guest.State->Dr[6]);
        Assert.Equal(0x400ul, _guest.State->Dr[7]);
    }

    [Fact]
    public void A_watched_write_inside_a_block_stops_behind_its_instruction_with_exact_counts()
    {
        // nop; mov [Data], rax; nop; hlt
        _guest.Load(ProgramGuest.Code, [Nop, 0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, Nop, 0xF4]);
        _guest.State->Gpr[0] = 0x1122334455667788;
        Watch(BreakpointKind.Write, ProgramGuest.Data + 2, 1);
        ulong retired = _guest.State->InstructionsRetired;
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        Assert.Equal(ProgramGuest.Code + 9, _guest.State->Rip);
        Assert.Equal(retired + 2, _guest.State->InstructionsRetired);
        Assert.Equal(0x1122334455667788ul, _guest.Read64(ProgramGuest.Data));
        Assert.Equal(new DebugStop(0, new Breakpoint(BreakpointKind.Write, ProgramGuest.Data + 2, 1), ProgramGuest.Data + 2), _debug.Stop);
        _debug.Prepare(null);
        Assert.Equal(ExitReason.Halt, _guest.Continue());
    }

    [Fact]
    public void A_watched_read_is_not_a_write_and_a_neighbour_is_neither()
    {
        // mov rax, [Data]; mov [Data + 8], rax; hlt
        _guest.Load(ProgramGuest.Code, [0x48, 0x8B, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0x48, 0x89, 0x04, 0x25, 0x08, 0x00, 0x02, 0x00, 0xF4]);
        Watch(BreakpointKind.Write, ProgramGuest.Data, 8);
        Assert.Equal(ExitReason.Halt, _guest.Continue());
        Assert.Null(_debug.Stop);
    }

    [Fact]
    public void A_watchpoint_stops_a_repeated_instruction_at_the_element_it_watches()
    {
        _guest.Load(ProgramGuest.Code, [0xF3, 0xAA, 0xF4]); // rep stosb; hlt
        _guest.State->Gpr[0] = 0x5A;
        _guest.State->Gpr[1] = 100;
        _guest.State->Gpr[7] = ProgramGuest.Data;
        Watch(BreakpointKind.Write, ProgramGuest.Data + 40, 1);
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        Assert.Equal(ProgramGuest.Code, _guest.State->Rip);
        Assert.Equal(59ul, _guest.State->Gpr[1]);
        _debug.Prepare(null);
        Assert.Equal(ExitReason.Halt, _guest.Continue());
        Assert.Equal(0ul, _guest.State->Gpr[1]);
    }

    [Fact]
    public void A_stack_push_of_an_interrupt_onto_watched_memory_stops_at_the_handler()
    {
        _guest.Load(ProgramGuest.Code, [Nop, 0xF4]);
        Watch(BreakpointKind.Write, ProgramGuest.StackTop - 16, 8);
        _guest.Cpu.Signal(PendingEvents.Nmi);
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        Assert.Equal(ProgramGuest.HandlerOf(2), _guest.State->Rip);
    }

    [Fact]
    public void A_breakpoint_that_was_reported_is_passed_once()
    {
        _guest.Load(ProgramGuest.Code, [Nop, 0xEB, 0xFD]); // nop; jmp back to it
        _debug.Breakpoints = new BreakpointSet([new Breakpoint(BreakpointKind.Hardware, ProgramGuest.Code, 1)]);
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        ulong retired = _guest.State->InstructionsRetired;
        _debug.Prepare(ProgramGuest.Code);
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        Assert.Equal(ProgramGuest.Code, _guest.State->Rip);
        Assert.Equal(retired + 2, _guest.State->InstructionsRetired);
    }

    [Fact]
    public void A_budget_still_ends_at_its_instruction()
    {
        _guest.Load(ProgramGuest.Code, [Nop, Nop, Nop, Nop, 0xF4]);
        _debug.Breakpoints = new BreakpointSet([new Breakpoint(BreakpointKind.Software, ProgramGuest.Code + 3, 1)]);
        Assert.Equal(ExitReason.Budget, _guest.Continue(2));
        Assert.Equal(ProgramGuest.Code + 2, _guest.State->Rip);
        Assert.Equal(ExitReason.Debug, _guest.Continue(2));
    }

    private void Step(ulong expected)
    {
        _debug.IsStepping = true;
        _debug.Prepare(null);
        Assert.Equal(ExitReason.Debug, _guest.Continue());
        Assert.Equal(expected, _guest.State->Rip);
        Assert.Null(_debug.Stop!.Breakpoint);
    }

    private void Watch(BreakpointKind kind, ulong address, int length)
    {
        _debug.Breakpoints = new BreakpointSet([new Breakpoint(kind, address, length)]);
        _guest.Cpu.Tlb.RequestFlush();
    }
}
