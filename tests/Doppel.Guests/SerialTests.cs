using System.Text;
using Doppel.Devices.Console;
using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Four serial ports, of which two share an interrupt each, under Debian's 32-bit kernel.</summary>
[Collection("Debian")]
public sealed class SerialTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>
{
    private const int Length = 8192;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Theory]
    [InlineData(FirmwareKind.None)]
    [InlineData(FirmwareKind.Bios)]
    public async Task Data_comes_back_from_all_ports_at_once(FirmwareKind firmware)
    {
        // A port stays open from the moment on that it says so: what comes between two openings is lost on a real line, too.
        const string Work = """
            mount -t devtmpfs dev /dev
            cat /proc/tty/driver/serial
            for port in 1 2 3; do
              (exec 3<>/dev/ttyS$port; stty raw -echo <&3; echo "ready" >&3; head -c 8192 <&3 >/tmp/$port; cat /tmp/$port >&3) &
            done
            wait
            echo "done with it"
            """;
        MemoryConsole[] lines = [new(), new(), new()];
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(Work),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Firmware = firmware,
            SerialPorts = 4,
        };
        await using var guest = VirtualMachine.Create(spec, new MachineConnections { Serial2 = lines[0], Serial3 = lines[1], Serial4 = lines[2] });
        guest.Start();
        using var limit = new CancellationTokenSource(Patience);
        int[] starts = await Task.WhenAll(lines.Select(line => line.WaitForAsync("ready\n", cancellation: limit.Token)));
        byte[][] sent = [.. lines.Select((_, i) => Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, Length / 8).Select(n => $"{i}{n:D6}."))))];
        for (int i = 0; i < lines.Length; i++)
            lines[i].Send(sent[i]);
        string console = await guest.Console.ReadUntilAsync("done with it", Patience);
        output.WriteLine(console);
        Assert.Equal(VmExitKind.PowerOff, (await guest.WaitAsync().WaitAsync(Patience)).Kind);
        for (int i = 0; i < lines.Length; i++)
            Assert.Equal(Encoding.ASCII.GetString(sent[i]), lines[i].TextFrom(starts[i]));
        foreach (string port in (string[])["0: uart:16550A port:000003F8 irq:4", "1: uart:16550A port:000002F8 irq:3", "2: uart:16550A port:000003E8 irq:4", "3: uart:16550A port:000002E8 irq:3"])
            Assert.Contains(port, console, StringComparison.Ordinal);
    }
}
