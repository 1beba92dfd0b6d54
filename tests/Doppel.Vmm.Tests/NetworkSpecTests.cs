using System.Text.Json;
using Doppel.Devices.Network;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Tests;

public sealed class NetworkSpecTests
{
    [Theory]
    [InlineData("user", null)]
    [InlineData("tap=tap0", null)]
    [InlineData("switch=lan", null)]
    [InlineData("switch=lan.2_a-b,mac=02:00:00:00:00:01,mtu=9000,queues=2", null)]
    [InlineData("user,mtu=68,queues=16", null)]
    [InlineData("user,model=e1000", null)]
    [InlineData("user,model=rtl8139,mac=02:00:00:00:00:01", null)]
    [InlineData("user,model=ne2k", null)]
    [InlineData("user,model=ne3200", "model=ne3200")]
    [InlineData("", "")]
    [InlineData("bridge", "bridge")]
    [InlineData("user=x", "user=x")]
    [InlineData("tap", "tap")]
    [InlineData("tap=", "tap=")]
    [InlineData("tap=sixteen-letters-", "tap=sixteen-letters-")]
    [InlineData("switch=../lan", "switch=../lan")]
    [InlineData("switch=.lan", "switch=.lan")]
    [InlineData("switch=a-name-of-a-switch-that-is-long", "switch=a-name-of-a-switch-that-is-long")]
    [InlineData("user,mac=01:00:00:00:00:01", "mac=01:00:00:00:00:01")]
    [InlineData("user,mac=x", "mac=x")]
    [InlineData("user,mtu=67", "mtu=67")]
    [InlineData("user,mtu=65536", "mtu=65536")]
    [InlineData("user,queues=0", "queues=0")]
    [InlineData("user,queues=17", "queues=17")]
    [InlineData("user,,mtu=1500", "")]
    [InlineData("user,fast", "fast")]
    public void A_card_is_read_as_people_write_it(string text, string? wrong)
    {
        Assert.Equal(wrong is null, NetworkSpec.TryParse(text, out NetworkSpec? spec, out string found));
        if (wrong is null)
            Assert.Equal(text, spec!.ToString());
        else
            Assert.Equal(wrong, found);
    }

    [Fact]
    public void What_can_not_be_is_refused()
    {
        (string Field, NetworkSpec Network)[] cases =
        [
            ("net", new NetworkSpec { Mtu = 10 }),
            ("net", new NetworkSpec { Queues = 99 }),
            ("net", new NetworkSpec { Name = "x" }),
            ("net", new NetworkSpec { Kind = NetworkKind.Switch }),
            ("net", new NetworkSpec { Mac = MacAddress.Broadcast }),
            ("publish", new NetworkSpec { Kind = NetworkKind.Switch, Name = "lan", Forwards = [PortForward.TryParse("1:1")!] }),
        ];
        foreach ((string field, NetworkSpec network) in cases)
            Assert.Equal(field, Assert.Throws<SpecException>(() => Make(network).Validate()).Field);
        Assert.Equal("net", Assert.Throws<SpecException>(() => Make([.. Enumerable.Repeat(new NetworkSpec(), 5)]).Validate()).Field);
        Assert.Equal("net", Assert.Throws<SpecException>(() => (Make(new NetworkSpec()) with { Clock = ClockKind.Instructions }).Validate()).Field);
        Make(new NetworkSpec()).Validate();
    }

    [Fact]
    public void A_card_in_a_snapshot_is_the_same_after_it()
    {
        var network = new NetworkSpec { Mac = new MacAddress(0x0212_3456_789A), Mtu = 9000, Forwards = [PortForward.TryParse("127.0.0.1:8080:80/udp")!] };
        string json = JsonSerializer.Serialize(network, SnapshotJson.Default.NetworkSpec);
        Assert.Contains("\"02:12:34:56:78:9a\"", json, StringComparison.Ordinal);
        Assert.Contains("\"127.0.0.1:8080:80/udp\"", json, StringComparison.Ordinal);
        NetworkSpec? read = JsonSerializer.Deserialize(json, SnapshotJson.Default.NetworkSpec);
        Assert.Equal(network.Forwards, read!.Forwards);
        Assert.Equal(network, read with { Forwards = network.Forwards });
    }

    private static MachineSpec Make(params NetworkSpec[] networks) => new() { Kernel = "k", Networks = networks };
}
