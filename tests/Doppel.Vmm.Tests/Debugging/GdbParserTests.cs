using System.Text;
using Doppel.Vmm.Debugging;

namespace Doppel.Vmm.Tests.Debugging;

public sealed class GdbParserTests
{
    [Fact]
    public void A_packet_carries_its_checksum()
    {
        Assert.Equal("$OK#9a", Encoding.Latin1.GetString(GdbPacket.Encode("OK")));
        Assert.Equal("$#00", Encoding.Latin1.GetString(GdbPacket.Encode("")));
    }

    [Fact]
    public void Every_byte_survives_a_packet()
    {
        string payload = new([.. Enumerable.Range(0, 256).Select(i => (char)i)]);
        byte[] packet = GdbPacket.Encode(payload);
        Assert.Equal(-1, packet.AsSpan(1, packet.Length - 4).IndexOfAny((byte)'$', (byte)'#', (byte)'*'));
        Assert.Equal([new GdbInput(GdbInputKind.Packet, payload)], Parse(packet));
    }

    [Theory]
    [InlineData("$g#66")]
    [InlineData("$g#6x")]
    [InlineData("$g#x7")]
    [InlineData("$}#7d")]
    public void A_damaged_packet_is_noticed_and_the_next_one_understood(string damaged)
    {
        IEnumerable<GdbInput> inputs = Parse(Encoding.Latin1.GetBytes(damaged + "$g#67"));
        Assert.Equal([new GdbInput(GdbInputKind.Damaged), new GdbInput(GdbInputKind.Packet, "g")], inputs);
    }

    [Fact]
    public void A_packet_that_begins_inside_another_replaces_it()
    {
        Assert.Equal([new GdbInput(GdbInputKind.Packet, "g")], Parse("$m1234$g#67"u8));
    }

    [Fact]
    public void Acknowledgements_and_interrupts_stand_between_packets()
    {
        GdbInputKind[] kinds = [.. Parse("+-x\x03$\x03#03"u8).Select(i => i.Kind)];
        Assert.Equal([GdbInputKind.Acknowledgement, GdbInputKind.Repeat, GdbInputKind.Interrupt, GdbInputKind.Packet], kinds);
    }

    [Fact]
    public void A_packet_may_be_as_long_as_announced_and_no_longer()
    {
        Assert.Equal(GdbInputKind.Packet, Parse(GdbPacket.Encode(new string('a', GdbParser.MaximumPayload))).Single().Kind);
        Assert.Equal(GdbInputKind.Damaged, Parse(GdbPacket.Encode(new string('a', GdbParser.MaximumPayload + 1))).Single().Kind);
    }

    [Fact]
    public void Random_bytes_leave_the_parser_able_to_go_on()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        var parser = new GdbParser();
        for (int round = 0; round < 2000; round++)
        {
            byte[] noise = new byte[random.Next(64)];
            random.NextBytes(noise);
            foreach (byte b in noise)
                _ = parser.Feed(random.Next(4) == 0 ? (byte)"$#}+"[random.Next(4)] : b);
            // Two digits end whatever the noise left open.
            foreach (byte b in "#00"u8)
                _ = parser.Feed(b);
            GdbInput? last = null;
            foreach (byte b in GdbPacket.Encode("vCont?"))
                last = parser.Feed(b) ?? last;
            Assert.True(last == new GdbInput(GdbInputKind.Packet, "vCont?"), $"seed {seed}, round {round}: {last}");
        }
    }

    private static List<GdbInput> Parse(ReadOnlySpan<byte> bytes)
    {
        var parser = new GdbParser();
        List<GdbInput> inputs = [];
        foreach (byte b in bytes)
        {
            if (parser.Feed(b) is { } input)
                inputs.Add(input);
        }

        return inputs;
    }
}
