using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Sleep as Debian's 32-bit kernel finds it: there is no suspending to RAM, but processors that stand still until something wakes them.</summary>
[Collection("Debian")]
public sealed class SleepTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task A_guest_that_sleeps_is_woken_by_its_clock_and_by_its_power_button()
    {
        const string Work = """
            echo "memory $(cat /sys/power/mem_sleep)"
            echo "+2" > /sys/class/rtc/rtc0/wakealarm
            echo mem > /sys/power/state
            echo "awake with $? by its clock"
            echo mem > /sys/power/state
            echo "awake with $? by its button"
            """;
        await using var guest = VirtualMachine.Create(new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work, "button"),
            CommandLine = "console=ttyS0 panic=-1 no_console_suspend",
            Memory = 128UL << 20,
            Firmware = FirmwareKind.Bios,
        });
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("awake with 0 by its clock", Patience);
        output.WriteLine(console);
        Assert.Contains("memory [s2idle]\r", console, StringComparison.Ordinal);
        _ = await guest.Console.ReadUntilAsync("PM: suspend entry (s2idle)", Patience);
        // A press before it has gone to sleep keeps it awake, or is forgotten.
        Task<string> awake = guest.Console.ReadUntilAsync("awake with 0 by its button", Patience);
        while (!awake.IsCompleted)
        {
            _ = guest.PressPowerButton();
            _ = await Task.WhenAny(awake, Task.Delay(500));
        }

        output.WriteLine(await awake);
        Assert.Equal(VmExitKind.PowerOff, (await guest.WaitAsync().WaitAsync(Patience)).Kind);
    }
}
