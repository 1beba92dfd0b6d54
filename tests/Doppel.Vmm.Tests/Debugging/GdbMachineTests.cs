using Doppel.Vmm.Debugging;
using static Doppel.Vmm.Tests.Debugging.GdbClient;

namespace Doppel.Vmm.Tests.Debugging;

public sealed class GdbMachineTests
{
    public static TheoryData<string, ClockKind> Machines => new()
    {
        { EngineNames.Interpreter, ClockKind.Host },
        { EngineNames.Interpreter, ClockKind.Instructions },
        { EngineNames.Translator, ClockKind.Host },
    };

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Breakpoints_stop_at_their_instruction_each_time_round(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock);
        using GdbClient gdb = machine.Connect();
        _ = await gdb.AskAsync("qSupported:swbreak+;hwbreak+");
        Assert.Equal("OK", await gdb.AskAsync($"Z0,{Number(machine.Guest.Loop)},1"));
        Assert.StartsWith("T05thread:01;swbreak:;", await gdb.AskAsync("vCont;c"));
        Assert.Equal(machine.Guest.Loop, await gdb.RegisterAsync("rip"));
        Assert.Equal(0ul, await gdb.RegisterAsync("rax"));
        Assert.StartsWith("T05thread:01;swbreak:;", await gdb.AskAsync("vCont;c"));
        Assert.Equal(1ul, await gdb.RegisterAsync("rax"));

        Assert.Equal("OK", await gdb.AskAsync($"z0,{Number(machine.Guest.Loop)},1"));
        Assert.Equal("OK", await gdb.AskAsync($"Z1,{Number(machine.Guest.Function)},1"));
        Assert.StartsWith("T05thread:01;hwbreak:;", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Function, await gdb.RegisterAsync("rip"));
        Assert.Equal(2ul, await gdb.RegisterAsync("rax"));
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task A_step_executes_one_instruction(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock);
        using GdbClient gdb = machine.Connect();
        await RunToAsync(gdb, machine.Guest.Loop);
        ulong[] path = [machine.Guest.Store, machine.Guest.Load, machine.Guest.Call, machine.Guest.Function, machine.Guest.Function + 1, machine.Guest.AfterCall];
        for (int i = 0; i < path.Length; i++)
        {
            Assert.StartsWith("T05thread:01;", await gdb.AskAsync(i % 2 == 0 ? "vCont;s:1;c" : "s"));
            Assert.Equal(path[i], await gdb.RegisterAsync("rip"));
        }
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Watchpoints_stop_behind_the_access_and_leave_the_guests_debug_registers_alone(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock);
        using GdbClient gdb = machine.Connect();
        await RunToAsync(gdb, machine.Guest.AfterCall);
        string place = $"{Number(LoopGuest.Data)},8";
        Assert.Equal("OK", await gdb.AskAsync($"Z2,{place}"));
        Assert.StartsWith($"T05thread:01;watch:{Number(LoopGuest.Data)};", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Load, await gdb.RegisterAsync("rip"));
        Assert.Equal(2ul, await gdb.RegisterAsync("rax"));
        Assert.Equal(Hex(2), await gdb.AskAsync($"m{place}"));
        Assert.Equal(0x400ul, await gdb.RegisterAsync("rcx"));

        Assert.Equal("OK", await gdb.AskAsync($"z2,{place}"));
        Assert.Equal("OK", await gdb.AskAsync($"Z3,{place}"));
        Assert.StartsWith($"T05thread:01;rwatch:{Number(LoopGuest.Data)};", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Call, await gdb.RegisterAsync("rip"));

        Assert.Equal("OK", await gdb.AskAsync($"z3,{place}"));
        Assert.Equal("OK", await gdb.AskAsync($"Z4,{Number(LoopGuest.Data + 7)},1"));
        Assert.StartsWith($"T05thread:01;awatch:{Number(LoopGuest.Data + 7)};", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Load, await gdb.RegisterAsync("rip"));
        Assert.StartsWith($"T05thread:01;awatch:{Number(LoopGuest.Data + 7)};", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Call, await gdb.RegisterAsync("rip"));
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Registers_can_be_changed_and_impossible_values_are_refused(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock);
        using GdbClient gdb = machine.Connect();
        await RunToAsync(gdb, machine.Guest.Loop);
        string[] wide = ["rax", "r15", "fs_base", "gs_base", "k_gs_base", "cr2"];
        foreach (string name in wide)
        {
            Assert.Equal("OK", await gdb.SetRegisterAsync(name, 0x1234567));
            Assert.Equal(0x1234567ul, await gdb.RegisterAsync(name));
        }

        Assert.Equal("OK", await gdb.SetRegisterAsync("xmm9", "000102030405060708090a0b0c0d0e0f"));
        Assert.Equal(0x0706050403020100ul, await gdb.RegisterAsync("xmm9"));
        Assert.Equal("OK", await gdb.SetRegisterAsync("st3", "0102030405060780ff3f"));
        Assert.Equal(0x8007060504030201ul, await gdb.RegisterAsync("st3"));
        Assert.Equal("OK", await gdb.SetRegisterAsync("eflags", "d7080000"));
        Assert.Equal(0x8D7ul, await gdb.RegisterAsync("eflags"));
        Assert.Equal("OK", await gdb.SetRegisterAsync("eflags", "02000000"));
        Assert.Equal(0xFFFFul, await gdb.RegisterAsync("ftag"));

        Assert.Equal("E22", await gdb.SetRegisterAsync("fs_base", 1ul << 60));
        Assert.Equal("E22", await gdb.SetRegisterAsync("cr0", 0));
        Assert.Equal("E22", await gdb.SetRegisterAsync("cr4", 0));
        Assert.Equal("E22", await gdb.SetRegisterAsync("mxcsr", "00000100"));
        Assert.Equal(0x80000011ul, await gdb.RegisterAsync("cr0"));
        Assert.StartsWith("T05", await gdb.AskAsync("s"));
        Assert.Equal(0x1234568ul, await gdb.RegisterAsync("rax"));
        string all = await gdb.AskAsync("g");
        Assert.Equal("OK", await gdb.AskAsync("G" + all));
        Assert.Equal(all, await gdb.AskAsync("g"));
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Memory_is_reached_by_the_page_tables_or_physically_without_a_fault(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock);
        using GdbClient gdb = machine.Connect();
        await RunToAsync(gdb, machine.Guest.Loop);
        Assert.Equal("OK", await gdb.AskAsync("M300ffe,4:01020304"));
        Assert.Equal("01020304", await gdb.AskAsync("m300ffe,4"));
        Assert.Equal("E14", await gdb.AskAsync($"m{Number(LoopGuest.Unmapped)},4"));
        Assert.Equal("E14", await gdb.AskAsync("m8000000000000000,4"));
        Assert.Equal(8, (await gdb.AskAsync("m3ffffc,8")).Length);
        Assert.Equal("OK", await gdb.AskAsync("Qqemu.PhyMemMode:1"));
        Assert.Equal("OK", await gdb.AskAsync($"X{Number(LoopGuest.Unmapped)},3:abc"));
        Assert.Equal("616263", await gdb.AskAsync($"m{Number(LoopGuest.Unmapped)},3"));
        Assert.Equal("E14", await gdb.AskAsync("mfee00000,4"));
        Assert.Equal("OK", await gdb.AskAsync("Qqemu.PhyMemMode:0"));
        Assert.Equal(0ul, await gdb.RegisterAsync("cr2"));
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Code_that_the_debugger_changes_is_what_executes(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock, wait: false);
        using GdbClient gdb = machine.Connect();
        await RunToAsync(gdb, machine.Guest.Call);
        await RunToAsync(gdb, machine.Guest.Loop);
        Assert.Equal(await gdb.RegisterAsync("rax"), await gdb.RegisterAsync("rbx"));
        // inc rax becomes dec rax.
        Assert.Equal("OK", await gdb.AskAsync($"M{Number(machine.Guest.Loop)},3:48ffc8"));
        ulong before = await gdb.RegisterAsync("rax");
        await RunToAsync(gdb, machine.Guest.Call);
        Assert.Equal(before - 1, await gdb.RegisterAsync("rax"));
        Assert.Equal(before - 1, await gdb.RegisterAsync("rbx"));
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task An_interrupt_from_the_debugger_stops_a_running_guest(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock, wait: false);
        using GdbClient gdb = machine.Connect();
        for (int i = 0; i < 3; i++)
        {
            await gdb.SendAsync(GdbPacket.Encode("vCont;c"));
            await gdb.SendAsync([3]);
            Assert.StartsWith("T02thread:01;", await gdb.ReplyAsync());
            Assert.Equal(VmState.Paused, machine.Machine.State);
        }

        // The debugger's stop outlasts a pause of somebody else's.
        await machine.Machine.PauseAsync();
        machine.Machine.Resume();
        Assert.Equal(VmState.Paused, machine.Machine.State);
        Assert.Equal("OK", await gdb.AskAsync("D"));
        Assert.Equal(VmState.Running, machine.Machine.State);
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Each_vcpu_is_a_thread_and_can_be_held(string engine, ClockKind clock)
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(engine, clock, cpus: 2);
        using GdbClient gdb = machine.Connect();
        Assert.Equal("m01,02", await gdb.AskAsync("qfThreadInfo"));
        await RunToAsync(gdb, machine.Guest.Loop);
        Assert.StartsWith("T05thread:01;", await gdb.AskAsync("vCont;s:1"));
        Assert.Equal(machine.Guest.Store, await gdb.RegisterAsync("rip"));
        Assert.Equal("OK", await gdb.AskAsync("Hg2"));
        Assert.Equal(0xFFF0ul, await gdb.RegisterAsync("rip"));
        Assert.Equal("OK", await gdb.AskAsync("Hg1"));

        // The second waits for its start-up IPI; while the first is held, nothing happens until the debugger interrupts.
        await gdb.SendAsync(GdbPacket.Encode("vCont;c:2"));
        await gdb.SendAsync([3]);
        Assert.StartsWith("T02", await gdb.ReplyAsync());
        Assert.Equal(machine.Guest.Store, await gdb.RegisterAsync("rip"));
        await RunToAsync(gdb, machine.Guest.Function);
    }

    [Fact]
    public async Task A_connection_that_breaks_lets_the_guest_go_on()
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(EngineNames.Interpreter);
        using (GdbClient first = machine.Connect())
        {
            await RunToAsync(first, machine.Guest.Loop);
            Assert.Equal("OK", await first.AskAsync($"Z0,{Number(machine.Guest.Loop)},1"));
        }

        using GdbClient second = machine.Connect();
        Assert.StartsWith("T05", await second.AskAsync("?"));
        Assert.True(await second.RegisterAsync("rax") < ulong.MaxValue);
        await second.SendAsync(GdbPacket.Encode("c"));
        await second.SendAsync([3]);
        Assert.StartsWith("T02", await second.ReplyAsync());
    }

    [Fact]
    public async Task A_reset_keeps_breakpoints_and_waits_at_the_first_instruction()
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(EngineNames.Interpreter);
        using GdbClient gdb = machine.Connect();
        ulong entry = await gdb.RegisterAsync("rip");
        Assert.Equal("OK", await gdb.AskAsync($"Z0,{Number(machine.Guest.Call)},1"));
        Assert.StartsWith("T05", await gdb.AskAsync("c"));
        string said = await gdb.AskAsync("qRcmd," + GdbPacket.ToHex("reset"u8));
        Assert.StartsWith(GdbPacket.ToHex("the machine is reset"u8), said);
        Assert.Equal(entry, await gdb.RegisterAsync("rip"));
        Assert.StartsWith("T05", await gdb.AskAsync("c"));
        Assert.Equal(machine.Guest.Call, await gdb.RegisterAsync("rip"));
        Assert.Equal(1ul, await gdb.RegisterAsync("rax"));
        Assert.Equal(1, machine.Machine.RebootCount);
    }

    [Fact]
    public async Task A_debugger_learns_of_the_machines_end_and_can_bring_it_about()
    {
        await using DebuggedMachine first = DebuggedMachine.Start(EngineNames.Interpreter);
        using (GdbClient gdb = first.Connect())
        {
            await RunToAsync(gdb, first.Guest.Loop);
            await gdb.SendAsync(GdbPacket.Encode("c"));
            // Nothing can be asked of a machine that runs; the error says that it does.
            Assert.Equal("E16", await gdb.AskAsync("g"));
            _ = await first.Machine.StopAsync();
            Assert.Equal("W00", await gdb.ReplyAsync());
        }

        await using DebuggedMachine second = DebuggedMachine.Start(EngineNames.Interpreter);
        using GdbClient killer = second.Connect();
        await killer.SendAsync(GdbPacket.Encode("k"));
        Assert.Equal(VmExitKind.Stopped, (await second.Machine.WaitAsync()).Kind);
    }

    [Fact]
    public async Task A_damaged_packet_is_asked_for_again_and_a_reply_repeated()
    {
        await using DebuggedMachine machine = DebuggedMachine.Start(EngineNames.Interpreter);
        using GdbClient gdb = machine.Connect();
        await gdb.SendAsync("$qC#00"u8.ToArray());
        Assert.Equal(GdbInputKind.Repeat, (await gdb.NextAsync())!.Value.Kind);
        Assert.Equal("QC01", await gdb.AskAsync("qC"));
        await gdb.SendAsync("-"u8.ToArray());
        Assert.Equal("QC01", await gdb.ReplyAsync());
    }

    private static async Task RunToAsync(GdbClient gdb, ulong address)
    {
        Assert.Equal("OK", await gdb.AskAsync($"Z1,{Number(address)},1"));
        Assert.StartsWith("T05", await gdb.AskAsync("vCont;c"));
        Assert.Equal(address, await gdb.RegisterAsync("rip"));
        Assert.Equal("OK", await gdb.AskAsync($"z1,{Number(address)},1"));
    }
}
