using System.Buffers.Binary;
using Doppel.Devices.Cards;
using Doppel.Devices.Tests.Network;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Cards;

/// <summary>The RTL8139C, by its data sheet.</summary>
public sealed class Rtl8139Tests : IDisposable
{
    private readonly ITestOutputHelper _output;
    private readonly MemoryNetwork _network = new();
    private readonly Rtl8139Machine _card;

    public Rtl8139Tests(ITestOutputHelper output)
    {
        _output = output;
        _card = new Rtl8139Machine(_network);
        _card.Start();
    }

    public void Dispose() => _card.Dispose();

    [Fact]
    public void The_address_is_in_the_registers_and_in_the_eeprom()
    {
        Assert.Equal((0x0100_5452u, 0x0302u), (_card.Read(0), _card.Read(4, 2)));
        Assert.Equal(0x8129, ReadByWires(0));
        Assert.Equal((0x5452, 0x0100, 0x0302), (ReadByWires(7), ReadByWires(8), ReadByWires(9)));
        // A 8139C, on both buses.
        Assert.Equal(0x7400_0000u, _card.Read(0x40) & 0x7CC0_0000);
        Assert.Equal(0x5452u, _card.In(0, 2));
        // The guest's own address stays until the EEPROM is loaded again.
        _card.Write(0, 0x4433_2211);
        _card.Start();
        Assert.Equal(0x4433_2211u, _card.Read(0));
        _card.Write(0x50, 0x40, 1);
        Assert.Equal(0x0100_5452u, _card.Read(0));
        Assert.Equal(0u, _card.Read(0x50, 1));
    }

    [Fact]
    public void Configuration_is_locked()
    {
        uint old = _card.Read(0x52, 1);
        _card.Write(0x52, 0x41, 1);
        Assert.Equal(old, _card.Read(0x52, 1));
        _card.Write(0x50, 0xC0, 1);
        _card.Write(0x52, 0x41, 1);
        _card.Write(0x50, 0, 1);
        Assert.Equal(0x41u, _card.Read(0x52, 1));
    }

    [Fact]
    public void Frames_are_sent_from_four_buffers_in_turn()
    {
        for (int i = 0; i < 9; i++)
        {
            byte[] frame = Frame([2, 2, 2, 2, 2, 2], 60 + (i * 100));
            _card.Send(frame);
            Assert.Equal(frame, _network.Sent[^1].Frame);
            Assert.Equal(0xA000u | (uint)frame.Length, _card.Read(0x10 + (4 * (i % 4))) & 0xFFFF);
        }

        Assert.Equal(9, _network.Sent.Count);
        Assert.Equal(0xF00Fu, _card.Read(0x60, 2));
        Assert.True(_card.Line.Level);
        Assert.Equal(4u, _card.Read(0x3E, 2));
        _card.Write(0x3E, 4, 2);
        Assert.False(_card.Line.Level);
        // What is too long, or not RAM, is aborted.
        _card.Write(0x24, 0x8000_0000);
        _card.Write(0x14, 100);
        Assert.Equal(0x4000_2000u, _card.Read(0x14) & 0x4000_A000);
        Assert.Equal(8u, _card.Read(0x3E, 2));
        Assert.Equal(9, _network.Sent.Count);
        // A transmitter that is off sends later.
        _card.Start();
        _card.Write(0x37, 8, 1);
        _card.Send(Frame([2, 2, 2, 2, 2, 2], 70));
        Assert.Equal(9, _network.Sent.Count);
        _card.Write(0x37, 0x0C, 1);
        Assert.Equal(10, _network.Sent.Count);
    }

    [Fact]
    public void Frames_are_received_behind_a_header()
    {
        Assert.Equal(1u, _card.Read(0x37, 1) & 1);
        byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 101);
        _network.Deliver(frame);
        Assert.Equal(1u, _card.Read(0x3E, 2));
        Assert.True(_card.Line.Level);
        (int status, byte[] got) = _card.Take();
        Assert.Equal(0x4001, status);
        Assert.Equal(frame, got[..^4]);
        Assert.Equal(FrameCheck.Of(frame), BinaryPrimitives.ReadUInt32LittleEndian(got.AsSpan(101)));
        Assert.Equal(1u, _card.Read(0x37, 1) & 1);
        _network.Deliver(Frame([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 20));
        (status, got) = _card.Take();
        Assert.Equal((0x2001, 64), (status, got.Length));
    }

    [Fact]
    public void Filters_let_in_what_they_name()
    {
        int Received(uint filter, byte[] destination)
        {
            _card.Start(0x0000_E780 | filter);
            _network.Deliver(Frame(destination, 60));
            return (int)(_card.Read(0x37, 1) & 1) ^ 1;
        }

        byte[] other = [2, 2, 2, 2, 2, 2], own = [0x52, 0x54, 0, 1, 2, 3], all = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], group = [1, 0, 0x5E, 0, 0, 1];
        Assert.Equal([0, 1, 0, 1], [Received(0, own), Received(2, own), Received(2, other), Received(1, other)]);
        Assert.Equal([0, 1, 1], [Received(2, all), Received(8, all), Received(1, all)]);
        // The group 01:00:5e:00:00:01 is bit 31 of the table.
        Assert.Equal(0, Received(4, group));
        _card.Write(0x08, 1u << 31);
        Assert.Equal([1, 0], [Received(4, group), Received(4, [1, 0, 0x5E, 0, 0, 2])]);
    }

    [Theory]
    [InlineData(0x0000_E70Au)]
    [InlineData(0x0000_E78Au)]
    public void The_buffer_goes_round(uint receive)
    {
        _card.Start(receive);
        for (int i = 0; i < 60; i++)
        {
            byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 60 + (i * 23));
            _network.Deliver(frame);
            Assert.Equal(frame, _card.Take().Frame[..^4]);
        }
    }

    [Fact]
    public void A_full_buffer_makes_frames_wait()
    {
        List<byte[]> frames = [.. Enumerable.Range(0, 12).Select(i => Frame([0x52, 0x54, 0, 1, 2, 3], 1000 + i))];
        foreach (byte[] frame in frames)
            _network.Deliver(frame);
        foreach (byte[] frame in frames)
            Assert.Equal(frame, _card.Take().Frame[..^4]);
        Assert.Equal(1u, _card.Read(0x37, 1) & 1);
    }

    [Fact]
    public void A_loop_brings_frames_back()
    {
        _card.Write(0x40, 0x0306_0700);
        byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 80);
        _card.Send(frame);
        Assert.Empty(_network.Sent);
        Assert.Equal(frame, _card.Take().Frame[..^4]);
    }

    [Fact]
    public void The_timer_counts_the_PCI_clock()
    {
        _card.Write(0x48, 0);
        _card.Clock.Advance(1_000_000);
        Assert.Equal(33_000u, _card.Read(0x48));
        _card.Write(0x54, 66_000);
        _card.Clock.Advance(999_000);
        Assert.Equal(0u, _card.Read(0x3E, 2));
        _card.Clock.Advance(2_000);
        Assert.Equal(0x4000u, _card.Read(0x3E, 2));
        Assert.True(_card.Line.Level);
    }

    [Fact]
    public void A_pulled_cable_is_seen()
    {
        Assert.Equal((0u, 4u), (_card.Read(0x58, 1) & 4, _card.Read(0x64, 2) & 4));
        _card.Card.IsPluggedIn = false;
        Assert.Equal((4u, 0u), (_card.Read(0x58, 1) & 4, _card.Read(0x64, 2) & 4));
        Assert.Equal(0x20u, _card.Read(0x3E, 2));
    }

    [Fact]
    public async Task A_card_goes_on_in_another_machine()
    {
        byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 300);
        _network.Deliver(frame);
        _card.Send(Frame([2, 2, 2, 2, 2, 2], 60));
        using var there = new Rtl8139Machine(_network);
        await there.MoveFromAsync(_card);
        Assert.Equal(frame, there.Take().Frame[..^4]);
        there.Send(Frame([2, 2, 2, 2, 2, 2], 90));
        Assert.Equal(90, _network.Sent[^1].Frame.Length);
        // A restored card tells that its link was away.
        Assert.Equal(0x20u, there.Read(0x3E, 2) & 0x20);
    }

    [Fact]
    public Task Random_accesses_do_no_harm() => HarmAsync(20_000);

    [Fact]
    [Trait("Category", "Slow")]
    public Task A_million_random_accesses_do_no_harm() => HarmAsync(1_000_000);

    private async Task HarmAsync(int accesses)
    {
        int seed = TestSeed.Take(_output);
        var random = new Random(seed);
        Rtl8139Machine card = new(_network);
        try
        {
            for (int i = 0; i < accesses; i++)
            {
                int size = 1 << random.Next(3);
                switch (random.Next(8))
                {
                    case 0 or 1 or 2:
                        card.Write(random.Next(0x88), (uint)random.NextInt64(), size);
                        break;
                    case 3:
                        _ = card.Read(random.Next(256), size);
                        break;
                    case 4:
                        byte[] frame = new byte[random.Next(14, random.Next(10) == 0 ? 60000 : 2000)];
                        random.NextBytes(frame);
                        if (random.Next(2) == 0)
                            frame.AsSpan(0, 6).Fill(0xFF);
                        _network.Deliver(frame);
                        break;
                    case 5:
                        card.Out(random.Next(256), (uint)random.NextInt64(), size);
                        break;
                    case 6 when random.Next(4) == 0:
                        card.Start((uint)random.NextInt64());
                        break;
                    default:
                        card.Send(Frame([2, 2, 2, 2, 2, 2], random.Next(14, 2000)), (uint)random.NextInt64() & 0xFFFF_0000);
                        break;
                }

                _network.Sent.Clear();
                if (random.Next(4000) == 0)
                {
                    card.Clock.Advance(random.Next(10_000_000));
                    Rtl8139Machine there = new(_network);
                    await there.MoveFromAsync(card);
                    card.Dispose();
                    card = there;
                }
            }

            card.Start();
            card.Send(Frame([2, 2, 2, 2, 2, 2], 64));
            Assert.Equal(64, _network.Sent[^1].Frame.Length);
        }
        finally
        {
            card.Dispose();
        }
    }

    private static byte[] Frame(byte[] destination, int length)
    {
        byte[] frame = new byte[length];
        new Random(length).NextBytes(frame);
        destination.CopyTo(frame, 0);
        (frame[12], frame[13]) = (8, 0);
        return frame;
    }

    // Start bit, opcode 10, six bits of address; then sixteen bits come.
    private ushort ReadByWires(int word)
    {
        const uint Program = 0x80, Select = 8, Clock = 4;
        void Pulse(uint data)
        {
            _card.Write(0x50, Program | Select | (data << 1), 1);
            _card.Write(0x50, Program | Select | (data << 1) | Clock, 1);
            _card.Write(0x50, Program | Select | (data << 1), 1);
        }

        _card.Write(0x50, Program, 1);
        _card.Write(0x50, Program | Select, 1);
        for (int i = 8; i >= 0; i--)
            Pulse((uint)(((6 << 6) | word) >> i) & 1);
        uint value = 0;
        for (int i = 0; i < 16; i++)
        {
            _card.Write(0x50, Program | Select | Clock, 1);
            value = (value << 1) | (_card.Read(0x50, 1) & 1);
            _card.Write(0x50, Program | Select, 1);
        }

        _card.Write(0x50, 0, 1);
        return (ushort)value;
    }
}
