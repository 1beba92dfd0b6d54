using System.Net;
using System.Runtime.InteropServices;
using Doppel.Host.Events;
using Doppel.Host.Network;

namespace Doppel.Host.Tests.Network;

/// <summary>libslirp: the mirrored header, and an address by ARP.</summary>
public sealed unsafe class SlirpTests : ISlirpGuest
{
    private readonly List<byte[]> _received = [];

    [Fact]
    public void Constants_and_layouts_are_those_of_the_C_header()
    {
        (string C, long Ours)[] values =
        [
            ("SLIRP_POLL_IN", SlirpCalls.PollIn), ("SLIRP_POLL_OUT", SlirpCalls.PollOut), ("SLIRP_POLL_PRI", SlirpCalls.PollPriority),
            ("SLIRP_POLL_ERR", SlirpCalls.PollError), ("SLIRP_POLL_HUP", SlirpCalls.PollHangUp),
            ("SLIRP_CONFIG_VERSION_MAX >= 4", 1), ("SLIRP_TIMER_NUM", 1),
            ("sizeof(SlirpConfig)", sizeof(SlirpConfiguration)), ("sizeof(SlirpCb)", sizeof(SlirpCallbacks)), ("sizeof(struct in6_addr)", sizeof(Address6)),
            .. Fields<SlirpConfiguration>(
                "SlirpConfig",
                "version restricted in_enabled vnetwork vnetmask vhost in6_enabled vprefix_addr6 vprefix_len vhost6 vhostname tftp_server_name tftp_path bootfile vdhcp_start vnameserver vnameserver6 vdnssearch vdomainname if_mtu if_mru disable_host_loopback enable_emu outbound_addr outbound_addr6 disable_dns disable_dhcp"),
            .. Fields<SlirpCallbacks>(
                "SlirpCb",
                "send_packet guest_error clock_get_ns timer_new timer_free timer_mod register_poll_fd unregister_poll_fd notify init_completed timer_new_opaque"),
        ];
        Assert.Equal(values.Select(value => value.Ours), CProgram.Evaluate(["slirp/libslirp.h"], [.. values.Select(value => value.C)]));
    }

    [Fact]
    public void The_host_answers_for_its_address()
    {
        Assert.True(Slirp.IsAvailable);
        using var slirp = new Slirp(this);
        var list = new PollList();
        int timeout = slirp.Fill(list);
        Assert.InRange(timeout, -1, int.MaxValue);
        byte[] request =
        [
            0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
            2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
        ];
        slirp.Input(request);
        slirp.Poll(list);
        byte[] answer = Assert.Single(_received, frame => frame[13] == 6);
        Assert.Equal([10, 0, 2, 2], answer[28..32]);
    }

    [Fact]
    public void A_port_that_is_taken_is_refused()
    {
        using var first = new Slirp(this);
        using var second = new Slirp(this);
        using var probe = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.InterNetwork, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        int port = ((IPEndPoint)probe.LocalEndPoint!).Port;
        probe.Dispose();
        first.AddForward(isUdp: false, IPAddress.Loopback, port, 80);
        HostException error = Assert.Throws<HostException>(() => second.AddForward(isUdp: false, IPAddress.Loopback, port, 80));
        Assert.Contains($"127.0.0.1:{port}/tcp", error.Message, StringComparison.Ordinal);
    }

    void ISlirpGuest.Receive(Span<byte> frame) => _received.Add(frame.ToArray());

    // The fields are declared in the header's order.
    private static IEnumerable<(string C, long Ours)> Fields<T>(string type, string names)
    {
        string[] ours = [.. typeof(T).GetFields(System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.NonPublic).Select(field => field.Name)];
        string[] theirs = names.Split(' ');
        Assert.Equal(theirs.Length, ours.Length);
        return theirs.Zip(ours, (c, name) => ($"offsetof({type}, {c})", (long)Marshal.OffsetOf<T>(name)));
    }
}
