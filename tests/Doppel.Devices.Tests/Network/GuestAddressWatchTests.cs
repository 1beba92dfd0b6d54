using System.Buffers.Binary;
using System.Net;
using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

public sealed class GuestAddressWatchTests
{
    private readonly List<IPAddress> _found = [];
    private readonly GuestAddressWatch _watch;

    public GuestAddressWatchTests() => _watch = new GuestAddressWatch(_found.Add);

    [Fact]
    public void A_lease_counts_when_it_is_acknowledged_and_only_once()
    {
        _watch.Received(Dhcp(2));
        Assert.Empty(_found);
        _watch.Received(Dhcp(5));
        _watch.Received(Dhcp(5));
        Assert.Equal([IPAddress.Parse("10.0.2.15")], _found);
        _watch.Begin();
        _watch.Received(Dhcp(5));
        Assert.Equal(2, _found.Count);
    }

    [Theory]
    [InlineData("0.0.0.0", false)]
    [InlineData("169.254.1.2", false)]
    [InlineData("192.168.7.1", true)]
    public void An_address_counts_that_the_guest_uses(string address, bool counts)
    {
        _watch.Sent(Arp(IPAddress.Parse(address)));
        Assert.Equal(counts, _found.Count == 1);
        _watch.Begin();
        _watch.Sent(Ipv4(IPAddress.Parse(address)));
        Assert.Equal(counts, _found.Count == 2);
    }

    [Theory]
    [InlineData("::", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fec0::5054:ff:fe12:3456", true)]
    [InlineData("2001:db8::1", true)]
    public void So_does_one_of_IPv6(string address, bool counts)
    {
        byte[] frame = new byte[14 + 40];
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x86DD);
        IPAddress.Parse(address).GetAddressBytes().CopyTo(frame, 14 + 8);
        _watch.Sent(frame);
        Assert.Equal(counts ? [IPAddress.Parse(address)] : [], _found);
    }

    [Fact]
    public void No_frame_harms_it()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[][] whole = [Dhcp(5), Arp(IPAddress.Loopback), Ipv4(IPAddress.Any)];
        for (int i = 0; i < 20_000; i++)
        {
            byte[] frame = [.. whole[random.Next(whole.Length)]];
            for (int change = random.Next(8); change > 0; change--)
                frame[random.Next(frame.Length)] = (byte)random.Next(256);
            frame = frame[..random.Next(frame.Length + 1)];
            try
            {
                _watch.Sent(frame);
                _watch.Received(frame);
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {Convert.ToHexString(frame)}: {e}");
            }

            _watch.Begin();
        }
    }

    private static byte[] Arp(IPAddress sender)
    {
        byte[] frame = new byte[60];
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0806);
        ReadOnlySpan<byte> fixedPart = [0, 1, 8, 0, 6, 4, 0, 1];
        fixedPart.CopyTo(frame.AsSpan(14));
        sender.GetAddressBytes().CopyTo(frame, 14 + 14);
        return frame;
    }

    private static byte[] Ipv4(IPAddress source)
    {
        byte[] frame = new byte[60];
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);
        frame[14] = 0x45;
        source.GetAddressBytes().CopyTo(frame, 14 + 12);
        return frame;
    }

    // RFC 2131, 2: a reply to a client, which some options precede the kind of message.
    private static byte[] Dhcp(byte kind)
    {
        byte[] frame = new byte[14 + 20 + 8 + 236 + 4 + 12];
        Ipv4(IPAddress.Parse("10.0.2.2"))[..34].CopyTo(frame, 0);
        frame[14 + 9] = 17;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(34), 67);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(36), 68);
        IPAddress.Parse("10.0.2.15").GetAddressBytes().CopyTo(frame, 42 + 16);
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(42 + 236), 0x63825363);
        ReadOnlySpan<byte> options = [0, 54, 4, 10, 0, 2, 2, 53, 1, kind, 255];
        options.CopyTo(frame.AsSpan(42 + 240));
        return frame;
    }
}
