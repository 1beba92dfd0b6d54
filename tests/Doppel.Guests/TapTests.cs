using System.Diagnostics;
using Doppel.Devices.Network;
using Doppel.Host.Network;
using Doppel.Vmm;

namespace Doppel.Guests;

/// <summary>Debian's own driver on a tap interface, for those who may make one.</summary>
[Collection("Debian")]
public sealed class TapTests(DebianImage debian)
{
    [TapFact]
    public async Task A_guest_and_the_host_ping_each_other_over_a_tap()
    {
        string name = $"dgst{Environment.ProcessId % 100_000}";
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with { Engine = EngineNames.Translator, Networks = [new NetworkSpec { Kind = NetworkKind.Tap, Name = name }] });
        Assert.Equal(0, Run("ip", "addr", "add", "192.168.213.1/30", "dev", name));
        Assert.Equal(0, Run("ip", "link", "set", name, "up"));
        _ = await guest.RunAsync("for i in $(seq 300); do pidof udhcpc >/dev/null && break; sleep 0.1; done; sleep 0.5; killall udhcpc; ip addr add 192.168.213.2/30 dev eth0");
        Assert.Contains(" 0% packet loss", await guest.RunAsync("ping -c 3 -i 0.1 192.168.213.1"), StringComparison.Ordinal);
        Assert.Contains(" 0% packet loss", await guest.RunAsync("ping -c 3 -i 0.1 -s 4000 192.168.213.1"), StringComparison.Ordinal);
        using var ping = new System.Net.NetworkInformation.Ping();
        Assert.Equal(System.Net.NetworkInformation.IPStatus.Success, (await ping.SendPingAsync("192.168.213.2", TimeSpan.FromMinutes(1))).Status);
    }

    private static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        _ = process.StandardOutput.ReadToEndAsync();
        _ = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }

    private sealed class TapFactAttribute : FactAttribute
    {
        public TapFactAttribute()
        {
            if (!CanMakeTaps())
                Skip = "this user may not make tap interfaces here, or ip (iproute2) is missing";
        }

        private static bool CanMakeTaps()
        {
            try
            {
                new TapDevice("dgst-probe", FrameOffload.Length).Dispose();
                return Run("ip", "link") == 0;
            }
            catch (Exception e) when (e is IOException or System.ComponentModel.Win32Exception)
            {
                return false;
            }
        }
    }
}
