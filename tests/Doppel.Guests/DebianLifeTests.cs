using Doppel.Vmm;
using Doppel.Vmm.Consoles;

namespace Doppel.Guests;

/// <summary>How a Debian guest ends and begins again, and in which machines it boots.</summary>
[Collection("Debian")]
public sealed class DebianLifeTests(DebianImage debian)
{
    [Fact]
    public async Task Poweroff_ends_the_machine()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image);
        guest.Machine.Console.WriteLine("poweroff");
        VmExit exit = await guest.Machine.WaitAsync().WaitAsync(DebianGuest.Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
        Assert.Equal(VmState.Ended, guest.Machine.State);
    }

    [Fact]
    public async Task The_power_button_ends_the_guest_once_it_listens()
    {
        await using var machine = VirtualMachine.Create(TestedMachine.Describe(debian.Image));
        Assert.False(machine.PressPowerButton());
        machine.Start();
        await using var guest = new DebianGuest(machine);
        await guest.PrepareAsync();
        Assert.Equal("", await guest.RunAsync("until pidof acpid >/dev/null; do usleep 100000; done"));
        Assert.True(machine.PressPowerButton());
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(DebianGuest.Patience)).Kind);
    }

    [Fact]
    public async Task Lines_that_are_typed_before_the_guest_listens_are_not_lost()
    {
        await using var machine = VirtualMachine.Create(TestedMachine.Describe(debian.Image));
        machine.Console.Write("echo early-$((6 * 7))\necho a-second-line-longer-than-any-fifo-of-a-serial-port\npoweroff -f\n");
        machine.Start();
        Assert.Equal(VmExitKind.PowerOff, (await machine.WaitAsync().WaitAsync(DebianGuest.Patience)).Kind);
        Assert.Contains("\nearly-42\r\n", machine.Console.Transcript, StringComparison.Ordinal);
        Assert.Contains("\na-second-line-longer-than-any-fifo-of-a-serial-port\r\n", machine.Console.Transcript, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_end_of_the_shell_ends_the_machine()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image);
        guest.Machine.Console.WriteLine("exit");
        Assert.Equal(VmExitKind.PowerOff, (await guest.Machine.WaitAsync().WaitAsync(DebianGuest.Patience)).Kind);
    }

    [Fact]
    public async Task Reboot_boots_again()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image);
        guest.Machine.Console.WriteLine("reboot -f");
        _ = await guest.Machine.Console.ReadUntilAsync("Run /init as init process", DebianGuest.Patience);
        _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Equal(1, guest.Machine.RebootCount);
        Assert.Equal("again", await guest.RunAsync("echo again"));
    }

    [Fact]
    public async Task A_crash_of_the_kernel_ends_the_machine_with_its_reason()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image);
        guest.Machine.Console.WriteLine("echo c > /proc/sysrq-trigger");
        VmExit exit = await guest.Machine.WaitAsync().WaitAsync(DebianGuest.Patience);
        Assert.Equal(VmExitKind.GuestCrash, exit.Kind);
        Assert.Contains("sysrq triggered crash", exit.Message, StringComparison.Ordinal);
        Assert.Equal("64-bit mode", exit.Location!.Mode);
    }

    [Theory]
    [InlineData("x86-64-v3", 256)]
    [InlineData("host", 3500)]
    [InlineData("x86-64-v2", 96)]
    public async Task It_boots_on_every_CPU_model_and_with_little_and_much_memory(string model, int mebibytes)
    {
        Func<MachineSpec, MachineSpec> change = s => s with { CpuModel = model, Memory = (ulong)mebibytes << 20, Overcommit = true };
        if (!TestedMachine.HasModel(model))
        {
            SpecException refused = Assert.Throws<SpecException>(() => VirtualMachine.Create(change(TestedMachine.Describe(debian.Image))));
            Assert.Contains($"all of CPU model {model}", refused.Message, StringComparison.Ordinal);
            return;
        }

        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, change);
        Assert.Equal("here", await guest.RunAsync("echo here"));
    }

    [Fact]
    public async Task It_boots_without_ACPI_and_APIC()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, s => s with { CommandLine = s.CommandLine + " acpi=off noapic nolapic" });
        Assert.Contains("XT-PIC", await guest.RunAsync("cat /proc/interrupts"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_window_size_reaches_the_guest()
    {
        var size = new WindowSizeLine();
        size.SetSize(43, 132);
        MachineSpec spec = TestedMachine.Describe(debian.Image);
        await using var guest = new DebianGuest(VirtualMachine.Create(spec, new MachineConnections { Serial2 = size }));
        guest.Machine.Start();
        _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
        Assert.Equal("43 132", await guest.RunAsync("until [ \"$(stty size)\" = '43 132' ]; do sleep 1; done; stty size"));
        size.SetSize(50, 100);
        Assert.Equal("50 100", await guest.RunAsync("until [ \"$(stty size)\" = '50 100' ]; do sleep 1; done; stty size"));
    }

    [Fact]
    public async Task Two_runs_by_the_count_of_instructions_are_the_same()
    {
        (string Transcript, ulong Instructions) first = await RunDeterministicAsync(), second = await RunDeterministicAsync();
        Assert.Equal(first.Transcript, second.Transcript);
        Assert.Equal(first.Instructions, second.Instructions);
        Assert.Contains("Kernel panic - not syncing: VFS: Unable to mount root fs", first.Transcript, StringComparison.Ordinal);
    }

    private async Task<(string Transcript, ulong Instructions)> RunDeterministicAsync()
    {
        MachineSpec spec = TestedMachine.Describe(debian.Image) with { Initrd = null, Clock = ClockKind.Instructions, Engine = TestedMachine.Engine == EngineNames.Kvm ? EngineNames.Default : TestedMachine.Engine };
        await using var machine = VirtualMachine.Create(spec with { CommandLine = spec.CommandLine + " root=/dev/none" });
        machine.Start();
        VmExit exit = await machine.WaitAsync().WaitAsync(DebianGuest.Patience);
        Assert.Equal(VmExitKind.GuestCrash, exit.Kind);
        return (machine.Console.Transcript, exit.Location!.InstructionsRetired);
    }
}
