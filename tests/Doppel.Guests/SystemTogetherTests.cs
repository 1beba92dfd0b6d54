using System.Globalization;
using Doppel.Vmm;
using Doppel.Vmm.Seeds;

namespace Doppel.Guests;

/// <summary>The whole system with folders of the host, and two of it on one switch.</summary>
[Collection("System")]
[Trait("Category", "Slow")]
public sealed class SystemTogetherTests(SystemImage system) : IDisposable
{
    // TCP for so many seconds, from one guest to the other; the receiver says how many bytes came.
    private const string Receive = "import socket; s = socket.create_server(('', 5201)); c = s.accept()[0]; n = 0\nwhile (k := len(c.recv(1 << 20))): n += k\nprint(n)";
    private const string Send = "import socket, sys, time; c = socket.create_connection((sys.argv[1], 5201)); b = bytes(1 << 20); end = time.monotonic() + 5; n = 0\nwhile time.monotonic() < end: n += c.send(b)\nprint(n)";
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-together-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Two_machines_on_a_switch_ping_each_other_and_send_streams_both_ways()
    {
        var network = new NetworkSpec { Kind = NetworkKind.Switch, Name = $"test-{Guid.NewGuid().ToString("N")[..8]}" };
        await File.WriteAllTextAsync(Path.Combine(_directory, "receive.py"), Receive);
        await File.WriteAllTextAsync(Path.Combine(_directory, "send.py"), Send);
        var programs = new VolumeSpec { HostPath = _directory, GuestPath = "/srv/programs", IsReadOnly = true };
        await using SystemGuest a = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "a" }, s => s with { Networks = [network], Volumes = [programs] });
        await using SystemGuest b = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "b" }, s => s with { Networks = [network], Volumes = [programs] });
        SystemGuest[] both = [a, b];
        for (int i = 0; i < both.Length; i++)
        {
            _ = await both[i].RunAsync($"printf '[Match]\\nType=ether\\n[Network]\\nAddress=192.168.9.{i + 1}/24\\n' >/etc/systemd/network/10-switch.network && networkctl reload && /lib/systemd/systemd-networkd-wait-online --any --timeout=60");
        }

        Assert.Contains(" 0% packet loss", await a.RunAsync("ping -c 5 -i 0.2 192.168.9.2"), StringComparison.Ordinal);
        Assert.Contains(" 0% packet loss", await b.RunAsync("ping -c 5 -i 0.2 -s 4000 192.168.9.1"), StringComparison.Ordinal);
        foreach ((SystemGuest from, SystemGuest to, string address) in ((SystemGuest, SystemGuest, string)[])[(a, b, "192.168.9.2"), (b, a, "192.168.9.1")])
        {
            _ = await to.RunAsync("systemd-run -q --unit=receive-$(date +%s%N) --property=StandardOutput=truncate:/root/received python3 /srv/programs/receive.py; sleep 2");
            long sent = long.Parse(await from.RunAsync($"python3 /srv/programs/send.py {address}"), CultureInfo.InvariantCulture);
            Assert.True(sent > 0);
            string received = await to.RunAsync("for i in $(seq 600); do [ -s /root/received ] && break; sleep 0.1; done; cat /root/received; rm /root/received");
            Assert.Equal(sent, long.Parse(received, CultureInfo.InvariantCulture));
        }
    }

    [Fact]
    public async Task Folders_of_the_host_are_where_they_were_asked_for()
    {
        string shared = Directory.CreateDirectory(Path.Combine(_directory, "shared")).FullName, kept = Directory.CreateDirectory(Path.Combine(_directory, "kept")).FullName;
        await File.WriteAllTextAsync(Path.Combine(shared, "note"), "of the host");
        await using SystemGuest guest = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "volumes" }, s => s with
        {
            Volumes = [new VolumeSpec { HostPath = shared, GuestPath = "/srv/shared" }, new VolumeSpec { HostPath = kept, GuestPath = "/srv/kept", IsReadOnly = true }],
        });
        Assert.Equal("running", await guest.RunAsync("systemctl is-system-running --wait"));
        Assert.Equal("active", await guest.RunAsync("systemctl is-active doppel-volumes.service"));
        Assert.Equal("of the host", await guest.RunAsync("cat /srv/shared/note"));
        _ = await guest.RunAsync("echo of the guest >/srv/shared/answer");
        Assert.Equal("of the guest\n", await File.ReadAllTextAsync(Path.Combine(shared, "answer")));
        Assert.NotEqual(0, (await guest.TryAsync("touch /srv/kept/x")).Status);
        _ = await guest.RunAsync("python3 -c \"import os; os.setxattr('/srv/shared/answer', 'user.doppel', b'kept'); assert os.getxattr('/srv/shared/answer', 'user.doppel') == b'kept'; assert os.listxattr('/srv/shared/answer') == ['user.doppel']\"");
        await guest.ShutDownAsync();
    }
}
