using System.Globalization;
using Doppel.Devices.Console;
using Doppel.Devices.Virtio;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>Debian's own drivers on the entropy device, the console and the balloon.</summary>
[Collection("Debian")]
public sealed class VirtioTests(DebianImage debian)
{
    private const ulong Mebibyte = 1 << 20;

    [Fact]
    public async Task A_guest_draws_numbers_talks_over_ports_and_gives_memory_back()
    {
        MemoryConsole terminal = new(), port = new();
        await using var machine = VirtualMachine.Create(
            TestedMachine.Describe(debian.Image) with { Memory = 512 * Mebibyte, Entropy = true, Balloon = true },
            new MachineConnections { ConsolePorts = [new VirtioConsolePort(terminal, IsConsole: true), new VirtioConsolePort(port, "org.doppel.test")] });
        var guest = new DebianGuest(machine);
        machine.Start();
        await guest.PrepareAsync();

        Assert.Equal("virtio_rng.0", (await guest.RunAsync("cat /sys/class/misc/hw_random/rng_current")).Trim());
        Assert.Equal("1000", (await guest.RunAsync("dd if=/dev/hwrng bs=1000 count=1 iflag=fullblock 2>/dev/null | wc -c")).Trim());

        Assert.Equal("org.doppel.test", await guest.RunAsync("cat /sys/class/virtio-ports/vport*p1/name"));
        _ = await guest.RunAsync("ln -s $(ls -d /dev/vport*p1) /tmp/port; echo over-hvc > /dev/hvc0; head -n 1 /tmp/port > /tmp/line &");
        _ = await terminal.WaitForAsync("over-hvc").WaitAsync(DebianGuest.Patience);
        port.Send("from the host\n");
        Assert.Contains("from the host", await guest.RunAsync("wait; cat /tmp/line"), StringComparison.Ordinal);
        _ = await guest.RunAsync("seq 1 20000 > /tmp/port");
        _ = await port.WaitForAsync("\n20000\n").WaitAsync(DebianGuest.Patience);
        Assert.Equal(string.Concat(Enumerable.Range(1, 20000).Select(i => i.ToString(CultureInfo.InvariantCulture) + "\n")), port.Text);

        _ = await guest.RunAsync("dd if=/dev/zero of=/tmp/big bs=1M count=200 2>/dev/null");
        ulong full = ResidentRam();
        _ = await guest.RunAsync("rm /tmp/big");
        await UntilAsync(() => ResidentRam() + (150 * Mebibyte) < full);

        machine.BalloonTarget = 256 * Mebibyte;
        await UntilAsync(() => machine.BalloonSize >= 200 * Mebibyte);
        machine.BalloonTarget = 0;
        await UntilAsync(() => machine.BalloonSize == 0);
        Assert.Equal("fine", await guest.RunAsync("echo fine"));
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var patience = new CancellationTokenSource(DebianGuest.Patience);
        while (!condition())
            await Task.Delay(100, patience.Token);
    }

    /// <summary>Bytes of guest memory that take memory of the host, in all machines of this process.</summary>
    private static ulong ResidentRam()
    {
        ulong sum = 0;
        bool isRam = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            if (char.IsAsciiHexDigitLower(line[0]) && line.Contains('-', StringComparison.Ordinal))
                isRam = line.Contains("doppel-ram", StringComparison.Ordinal);
            else if (isRam && line.StartsWith("Rss:", StringComparison.Ordinal))
                sum += ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
        }

        return sum;
    }
}
