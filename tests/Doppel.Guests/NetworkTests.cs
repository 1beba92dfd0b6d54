using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Doppel.Devices.Network;
using Doppel.Vmm;
using Doppel.Vmm.Snapshots;

namespace Doppel.Guests;

/// <summary>Debian's own driver on user-mode NAT and on a switch between machines.</summary>
[Collection("Debian")]
public sealed class NetworkTests(DebianImage debian)
{
    private const string Bound = "for i in $(seq 300); do ip -4 addr show eth0 2>/dev/null | grep -q inet && break; sleep 0.1; done";

    [Fact]
    public async Task A_guest_gets_an_address_fetches_from_the_host_and_serves_it()
    {
        byte[] content = RandomNumberGenerator.GetBytes(3 << 20);
        using var server = new FileServer(content);
        int port = FreePort();
        await using DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with
        {
            Engine = EngineNames.Translator,
            Cpus = 2,
            Networks = [new NetworkSpec { Mtu = 1400, Forwards = [new PortForward(IPAddress.Loopback, port, 80)] }],
        });
        Assert.Contains(" 10.0.2.15/24 ", await guest.RunAsync($"{Bound}; ip -4 addr show eth0"), StringComparison.Ordinal);
        Vmm.Readiness.GuestReadiness readiness = guest.Machine.Readiness;
        Assert.Equal("10.0.2.15", readiness.Address);
        Assert.NotNull(readiness.Booted);
        Assert.NotNull(readiness.SetUp);
        Assert.Equal(guest.Machine.NetworkAddresses[0].ToString(), await guest.RunAsync("cat /sys/class/net/eth0/address"));
        Assert.Equal("1400", await guest.RunAsync("cat /sys/class/net/eth0/mtu"));
        Assert.Equal("2", await guest.RunAsync("ls -d /sys/class/net/eth0/queues/rx-* | wc -l"));
        Assert.Contains("default via 10.0.2.2 dev eth0", await guest.RunAsync("ip route"), StringComparison.Ordinal);
        Assert.Equal("nameserver 10.0.2.3", await guest.RunAsync("cat /etc/resolv.conf"));
        Assert.Contains(" 0% packet loss", await guest.RunAsync("ping -c 2 -i 0.1 -s 3000 10.0.2.2"), StringComparison.Ordinal);

        string sum = Convert.ToHexStringLower(SHA256.HashData(content));
        Assert.Equal(sum, await guest.RunAsync($"wget -q -O - http://10.0.2.2:{server.Port}/ | sha256sum | cut -d' ' -f1"));

        _ = await guest.RunAsync("mkdir -p /tmp/www; dd if=/dev/urandom of=/tmp/www/f bs=1M count=2 2>/dev/null; httpd -p 80 -h /tmp/www");
        using var client = new HttpClient { Timeout = TimeSpan.FromMinutes(1) };
        byte[] fetched = await client.GetByteArrayAsync(new Uri($"http://127.0.0.1:{port}/f"));
        Assert.Equal(await guest.RunAsync("sha256sum < /tmp/www/f | cut -d' ' -f1"), Convert.ToHexStringLower(SHA256.HashData(fetched)));

        // The address of the advertised prefix comes by itself.
        Assert.Equal("yes", await guest.RunAsync("for i in $(seq 300); do ip -6 addr show eth0 | grep -q ' fec0:' && break; sleep 0.1; done; ip -6 addr show eth0 | grep -q ' fec0:' && echo yes"));

        guest.Machine.PlugNetwork(0, isPluggedIn: false);
        Assert.Equal("0", await guest.RunAsync("sleep 0.2; cat /sys/class/net/eth0/carrier"));
        guest.Machine.PlugNetwork(0, isPluggedIn: true);
        Assert.Equal("1", await guest.RunAsync("sleep 0.2; cat /sys/class/net/eth0/carrier"));

        // Connections outlive a pause, and the network a reset.
        guest.Machine.Console.WriteLine($"wget -q -O - http://10.0.2.2:{server.Port}/ | sha256sum | cut -d' ' -f1");
        for (int i = 0; i < 5; i++)
        {
            await Task.Delay(20);
            await guest.Machine.PauseAsync();
            guest.Machine.Resume();
        }

        Assert.Contains(sum, await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience), StringComparison.Ordinal);
        guest.Machine.Console.WriteLine("reboot -f");
        await guest.PrepareAsync();
        Assert.Equal(sum, await guest.RunAsync($"{Bound}; wget -q -O - http://10.0.2.2:{server.Port}/ | sha256sum | cut -d' ' -f1"));
        Assert.True(guest.Machine.Readiness.Booted > readiness.Booted);
        Assert.True(guest.Machine.Readiness.NetworkUp > readiness.NetworkUp);
    }

    [Fact]
    public async Task Two_guests_on_a_switch_ping_each_other_and_send_files()
    {
        var network = new NetworkSpec { Kind = NetworkKind.Switch, Name = $"test-{Guid.NewGuid().ToString("N")[..8]}" };
        // Both have the same name, and so would have the same address.
        await using DebianGuest a = await DebianGuest.BootAsync(debian.Image, spec => spec with { Engine = EngineNames.Translator, Networks = [network] });
        await using DebianGuest b = await DebianGuest.BootAsync(debian.Image, spec => spec with { Engine = EngineNames.Translator, Networks = [network] });
        Assert.NotEqual(a.Machine.NetworkAddresses[0], b.Machine.NetworkAddresses[0]);
        const string Ready = "for i in $(seq 300); do pidof udhcpc >/dev/null && break; sleep 0.1; done; sleep 0.5; killall udhcpc; ip addr add 192.168.7.";
        _ = await a.RunAsync(Ready + "1/24 dev eth0");
        _ = await b.RunAsync(Ready + "2/24 dev eth0");
        Assert.Contains(" 0% packet loss", await a.RunAsync("ping -c 3 -i 0.1 192.168.7.2"), StringComparison.Ordinal);
        Assert.Contains(" 0% packet loss", await b.RunAsync("ping -c 3 -i 0.1 -s 3000 192.168.7.1"), StringComparison.Ordinal);
        _ = await b.RunAsync("dd if=/dev/urandom of=/tmp/f bs=1M count=16 2>/dev/null; httpd -p 80 -h /tmp");
        string sum = await b.RunAsync("sha256sum < /tmp/f | cut -d' ' -f1");
        Assert.Equal(sum, await a.RunAsync("wget -q -O - http://192.168.7.2/f | sha256sum | cut -d' ' -f1"));
        _ = await b.Machine.StopAsync();
        Assert.Contains(" 100% packet loss", await a.RunAsync("ping -c 1 -W 1 192.168.7.2"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_restored_guest_goes_on_with_its_network()
    {
        byte[] content = RandomNumberGenerator.GetBytes(1 << 20);
        string sum = Convert.ToHexStringLower(SHA256.HashData(content));
        using var server = new FileServer(content);
        string directory = Directory.CreateTempSubdirectory("doppel-net-").FullName;
        try
        {
            string fetch = $"wget -q -O - http://10.0.2.2:{server.Port}/ | sha256sum | cut -d' ' -f1";
            SaveResult saved;
            await using (DebianGuest guest = await DebianGuest.BootAsync(debian.Image, spec => spec with { Engine = EngineNames.Translator, Memory = 256 << 20, Networks = [new NetworkSpec()] }))
            {
                Assert.Equal(sum, await guest.RunAsync($"{Bound}; {fetch}"));
                // In the middle of work.
                guest.Machine.Console.WriteLine("(ping -i 0.01 10.0.2.2 > /dev/null &)");
                _ = await guest.Machine.Console.ReadUntilAsync(DebianGuest.Prompt, DebianGuest.Patience);
                saved = await guest.Machine.SaveAsync(new SnapshotStore(directory), new SaveOptions());
            }

            using var snapshot = SnapshotReader.Open(saved.Folder);
            await using var restored = new DebianGuest(VirtualMachine.Restore(snapshot));
            restored.Machine.Start();
            Assert.Equal("restored", await restored.RunAsync("killall ping; echo restored"));
            Assert.Equal(sum, await restored.RunAsync(fetch));
            Assert.Contains(" 0% packet loss", await restored.RunAsync("ping -c 3 -i 0.1 10.0.2.2"), StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    /// <summary>Answers every request with the same content.</summary>
    private sealed class FileServer : IDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

        internal FileServer(byte[] content)
        {
            _listener.Start();
            _ = ServeAsync(content);
        }

        internal int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public void Dispose() => _listener.Dispose();

        private async Task ServeAsync(byte[] content)
        {
            byte[] header = Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {content.Length}\r\n\r\n"), request = new byte[4096];
            try
            {
                while (true)
                {
                    using TcpClient client = await _listener.AcceptTcpClientAsync();
                    NetworkStream stream = client.GetStream();
                    _ = await stream.ReadAsync(request);
                    await stream.WriteAsync(header);
                    await stream.WriteAsync(content);
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or IOException)
            {
                // The test has ended.
            }
        }
    }
}
