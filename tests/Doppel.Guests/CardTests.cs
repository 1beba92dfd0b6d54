using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Doppel.Vmm;
using Xunit.Abstractions;

namespace Doppel.Guests;

/// <summary>Network cards of hardware that there is, under Debian's 32-bit kernel and its own drivers.</summary>
[Collection("Debian")]
public sealed class CardTests(Debian32 debian, ITestOutputHelper output) : IClassFixture<Debian32>
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    [Theory]
    [InlineData(NetworkModel.E1000, "e1000")]
    [InlineData(NetworkModel.Rtl8139, "8139too")]
    [InlineData(NetworkModel.Ne2000, "ne io=0x300 irq=5")]
    public async Task Data_goes_to_the_host_and_back(NetworkModel model, string driver)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;
        string work = $"""
            i=0; while [ ! -d /sys/class/net/eth0 ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done
            ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
            i=0; while [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" != 1 ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done
            dd if=/dev/urandom of=/tmp/out bs=64k count=48 2>/dev/null
            echo "sent $(sha256sum < /tmp/out)"
            nc 10.0.2.2 {port} < /tmp/out > /tmp/in
            echo "back $(sha256sum < /tmp/in)"
            dmesg | grep -i -E 'eth0|{driver.Split(' ')[0]}' | tail -10
            cat /proc/net/dev
            echo "done with it"
            """;
        var spec = new MachineSpec
        {
            Kernel = debian.Kernel,
            Initrd = debian.WriteInitrd(work, driver),
            CommandLine = "console=ttyS0 panic=-1 quiet",
            Memory = 128UL << 20,
            Networks = [new NetworkSpec { Model = model }],
        };
        await using var guest = VirtualMachine.Create(spec);
        Task<byte[]> echo = EchoAsync(listener);
        guest.Start();
        string console = await guest.Console.ReadUntilAsync("done with it", Patience);
        output.WriteLine(console);
        string hash = Convert.ToHexStringLower(SHA256.HashData(await echo));
        Assert.Contains($"sent {hash}", console, StringComparison.Ordinal);
        Assert.Contains($"back {hash}", console, StringComparison.Ordinal);
        VmExit exit = await guest.WaitAsync().WaitAsync(Patience);
        Assert.Equal(VmExitKind.PowerOff, exit.Kind);
    }

    // Takes all, then gives it back.
    private static async Task<byte[]> EchoAsync(TcpListener listener)
    {
        const int Length = 48 * 65536;
        using TcpClient client = await listener.AcceptTcpClientAsync().WaitAsync(Patience);
        byte[] data = new byte[Length];
        await client.GetStream().ReadExactlyAsync(data);
        await client.GetStream().WriteAsync(data);
        client.Client.Shutdown(SocketShutdown.Send);
        return data;
    }
}
