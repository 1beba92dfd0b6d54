using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>Debian's kernel loaded by firmware: its real-mode code under SeaBIOS, the PC's chip set, and tables that firmware has placed.</summary>
[Collection("Debian")]
public sealed class FirmwareTests(DebianImage debian)
{
    [Fact]
    public async Task Linux_runs_on_what_SeaBIOS_has_set_up()
    {
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with { Firmware = FirmwareKind.Bios, Cpus = 2, Entropy = true });
        Assert.Equal("2", await guest.RunAsync("grep -c ^processor /proc/cpuinfo"));
        string log = await guest.RunAsync("dmesg");
        Assert.Contains("ACPI: RSDP", log, StringComparison.Ordinal);
        Assert.Contains("ACPI: HPET", log, StringComparison.Ordinal);
        Assert.Contains("SMBIOS 2.8 present", log, StringComparison.Ordinal);
        Assert.DoesNotContain("ACPI Error", log, StringComparison.Ordinal);
        Assert.DoesNotContain("Incorrect checksum", log, StringComparison.Ordinal);
        Assert.DoesNotContain("BIOS bug", log, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("8086:7000", await guest.RunAsync("for d in /sys/bus/pci/devices/*; do echo \"$(cut -c3- $d/vendor):$(cut -c3- $d/device)\"; done"), StringComparison.Ordinal);
        Assert.Contains("hpet", await guest.RunAsync("cat /sys/devices/system/clocksource/clocksource0/available_clocksource"), StringComparison.Ordinal);
        // An interrupt that goes through the routing that the tables describe.
        Assert.Contains("64+0 records", await guest.RunAsync("dd if=/dev/hwrng of=/dev/null bs=64 count=64 2>&1"), StringComparison.Ordinal);
        guest.Machine.Console.WriteLine("poweroff -f");
        Assert.Equal(VmExitKind.PowerOff, (await guest.Machine.WaitAsync().WaitAsync(DebianGuest.Patience)).Kind);
    }
}
