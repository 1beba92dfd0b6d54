using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>User-mode NAT, spoken to frame by frame.</summary>
public sealed class UserNetworkTests
{
    private static readonly byte[] Own = [2, 0, 0, 0, 0, 1];
    private static readonly byte[] Gateway = [0x52, 0x55, 10, 0, 2, 2];

    [Fact]
    public void A_connection_to_the_host_carries_large_frames_both_ways_and_answers_at_the_MTU_of_the_guest()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        using var network = new UserNetwork();
        var guest = new RecordingAdapter(network);

        // The network learns the guest's address from what it asks.
        guest.Send(Arp(1, [10, 0, 2, 15], [10, 0, 2, 2]));
        _ = guest.Next(frame => frame[13] == 6);
        // SYN with the segment size of an Ethernet, its checksum left to the network.
        guest.Send(Tcp(port, 1000, 0, 2, [2, 4, 0x05, 0xB4], [], out FrameOffload offload), offload);
        byte[] answer = guest.Next(IsTcp).Frame;
        Assert.Equal(0x12, answer[47]);
        Assert.True(Frames.CheckTcp(answer));
        uint theirs = BinaryPrimitives.ReadUInt32BigEndian(answer.AsSpan(38)) + 1;

        byte[] sent = new byte[30_000];
        new Random(1).NextBytes(sent);
        guest.Send(Tcp(port, 1001, theirs, 0x18, [], sent, out offload), offload with { Kind = SegmentKind.Tcp4, SegmentSize = 1460 });
        using Socket host = listener.Accept();
        byte[] received = new byte[sent.Length];
        for (int count = 0; count < received.Length;)
            count += host.Receive(received.AsSpan(count));
        Assert.Equal(sent, received);

        _ = host.Send(sent);
        var back = new List<byte>();
        bool wasLarge = false;
        while (back.Count < sent.Length)
        {
            (FrameOffload Offload, byte[] Frame) next = guest.Next(frame => IsTcp(frame) && frame.Length > 54);
            byte[] frame = next.Frame;
            if (frame.Length > 1514)
            {
                wasLarge = true;
                Assert.Equal((SegmentKind.Tcp4, 1460, true), (next.Offload.Kind, (int)next.Offload.SegmentSize, next.Offload.NeedsChecksum));
                InternetChecksum.Complete(next.Offload, frame);
            }

            Assert.True(Frames.CheckTcp(frame));
            uint at = BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)) - theirs;
            if (at == back.Count)
                back.AddRange(frame[54..]);
            guest.Send(Tcp(port, 31_001, theirs + (uint)back.Count, 0x10, [], [], out offload), offload);
        }

        Assert.True(wasLarge);
        Assert.Equal(sent, back);
    }

    [Fact]
    public async Task A_port_of_the_host_leads_to_the_guest()
    {
        int port = FreePort();
        using var network = new UserNetwork([new PortForward(IPAddress.Loopback, port, 80)]);
        var guest = new RecordingAdapter(network);
        // The network learns the guest's address from what it sends.
        guest.Send(Arp(1, [10, 0, 2, 15], [10, 0, 2, 2]));
        _ = guest.Next(frame => frame[13] == 6);
        using var client = new TcpClient();
        Task connect = client.ConnectAsync(IPAddress.Loopback, port);
        byte[] syn = guest.Next(frame => IsTcp(frame) && frame[47] == 2).Frame;
        Assert.Equal(80, BinaryPrimitives.ReadUInt16BigEndian(syn.AsSpan(36)));
        Assert.Equal([10, 0, 2, 15], syn[30..34]);
        await connect.WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public void A_port_that_is_taken_is_named()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        IOException error = Assert.ThrowsAny<IOException>(() => new UserNetwork([new PortForward(IPAddress.Loopback, port, 80)]));
        Assert.Contains($"127.0.0.1:{port}/tcp", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("8080:80", "0.0.0.0:8080:80/tcp")]
    [InlineData("8080:80/tcp", "0.0.0.0:8080:80/tcp")]
    [InlineData("127.0.0.1:5353:53/udp", "127.0.0.1:5353:53/udp")]
    [InlineData("80", null)]
    [InlineData("0:80", null)]
    [InlineData("80:65536", null)]
    [InlineData("80:80/sctp", null)]
    [InlineData("1.2.3:80:80", null)]
    [InlineData("::1:80:80", null)]
    [InlineData("a:80:80", null)]
    [InlineData("-1:80", null)]
    [InlineData("", null)]
    public void Ports_are_read_as_people_write_them(string text, string? meaning) => Assert.Equal(meaning, PortForward.TryParse(text)?.ToString());

    [Fact]
    public void Frames_that_make_no_sense_do_no_harm()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        using var network = new UserNetwork();
        var guest = new RecordingAdapter(network);
        for (int i = 0; i < 20_000; i++)
        {
            // Nothing here may open a connection to anywhere.
            byte[] frame = Tcp(1, (uint)random.Next(), (uint)random.Next(), (byte)(random.Next(256) & ~2), [], new byte[random.Next(100)], out _);
            for (int k = random.Next(1, 5); k > 0; k--)
                frame[random.Next(frame.Length)] = (byte)random.Next(256);
            frame[30] = 127;
            if (frame[23] == 17 || frame[13] == 0xDD)
                frame[23] = 6;
            guest.Send(frame[..random.Next(14, frame.Length + 1)]);
        }

        guest.Send(Arp(1, [10, 0, 2, 15], [10, 0, 2, 2]));
        Assert.True(guest.Next(frame => frame[12] == 8 && frame[13] == 6).Frame[21] == 2, $"seed {seed}");
        Assert.Null(guest.Failure);
    }

    private static bool IsTcp(byte[] frame) => frame[12] == 8 && frame[13] == 0 && frame[23] == 6;

    private static int FreePort()
    {
        using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }

    private static byte[] Arp(byte operation, byte[] from, byte[] to) =>
        [.. Enumerable.Repeat((byte)0xFF, 6), .. Own, 8, 6, 0, 1, 8, 0, 6, 4, 0, operation, .. Own, .. from, 0, 0, 0, 0, 0, 0, .. to];

    private static byte[] Tcp(int port, uint sequence, uint acknowledged, byte flags, byte[] options, byte[] payload, out FrameOffload offload)
    {
        byte[] frame = [.. Gateway, .. Own, 8, 0, .. new byte[40], .. options, .. payload];
        Span<byte> ip = frame.AsSpan(14), tcp = frame.AsSpan(34);
        ip[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)ip.Length);
        ip[8] = 64;
        ip[9] = 6;
        ((byte[])[10, 0, 2, 15, 10, 0, 2, 2]).CopyTo(ip[12..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~Frames.Sum(ip[..20]));
        BinaryPrimitives.WriteUInt16BigEndian(tcp, 4321);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], (ushort)port);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], sequence);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], acknowledged);
        tcp[12] = (byte)((5 + (options.Length / 4)) << 4);
        tcp[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], 65535);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], Frames.PseudoHeader(frame, 14, isIpv6: false, 6, tcp.Length));
        offload = new FrameOffload { NeedsChecksum = true, ChecksumStart = 34, ChecksumOffset = 16 };
        return frame;
    }
}
