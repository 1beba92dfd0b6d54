using System.Buffers.Binary;
using Doppel.Devices.Network;
using Doppel.Devices.Tests.Network;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Cards;

/// <summary>The 82540EM, by its manual.</summary>
public sealed class E1000Tests : IDisposable
{
    private const ulong Eop = 1UL << 24, InsertSum = 4UL << 24, Report = 8UL << 24, Extended = 0x20UL << 24, Data = 1UL << 20, Segment = 4UL << 24;
    private const int Source = 0x20_0000;
    private readonly ITestOutputHelper _output;
    private readonly MemoryNetwork _network = new();
    private readonly E1000Machine _card;

    public E1000Tests(ITestOutputHelper output)
    {
        _output = output;
        _card = new E1000Machine(_network);
        _card.Start();
    }

    public void Dispose() => _card.Dispose();

    [Fact]
    public void The_address_is_in_the_eeprom_and_in_the_filter()
    {
        Assert.Equal(0x0100_5452u, _card.Read(0x5400));
        Assert.Equal(0x8000_0302u, _card.Read(0x5404));
        int sum = 0;
        for (int word = 0; word < 64; word++)
        {
            // By the read register, and by the wires.
            _card.Write(0x14, (uint)(word << 8) | 1);
            uint read = _card.Read(0x14);
            Assert.Equal(0x10u, read & 0x10);
            Assert.Equal((ushort)(read >> 16), ReadByWires(word));
            sum += (int)(read >> 16);
        }

        Assert.Equal(0xBABA, sum & 0xFFFF);
        Assert.Equal(0x5452, ReadByWires(0));
    }

    [Fact]
    public void The_transceiver_has_a_link()
    {
        uint Mdi(uint operation, uint register, uint data = 0)
        {
            _card.Write(0x20, data | (register << 16) | (1 << 21) | (operation << 26));
            uint value = _card.Read(0x20);
            Assert.Equal(1u << 28, value & (5u << 28));
            return value & 0xFFFF;
        }

        Assert.Equal((0x0141u, 0x0C20u), (Mdi(2, 2), Mdi(2, 3)));
        Assert.Equal(0x24u, Mdi(2, 1) & 0x24);
        Assert.Equal(0x83u, _card.Read(8));
        _ = Mdi(1, 4, 0x1234);
        Assert.Equal(0x1234u, Mdi(2, 4));
        _ = _card.Read(0xC0);
        _ = Mdi(1, 0, 0x1340);
        Assert.Equal(4u, _card.Read(0xC0) & 4);
        // Another transceiver isn't there.
        _card.Write(0x20, (2 << 21) | (2 << 26));
        Assert.Equal(1u << 30, _card.Read(0x20) & (1u << 30));
        _card.Card.IsPluggedIn = false;
        Assert.Equal(0u, _card.Read(8) & 2);
        Assert.Equal(0u, Mdi(2, 1) & 4);
        Assert.Equal(0x8000_0004u, _card.Read(0xC0) & 0x8000_0004);
        // The same registers through the ports.
        _card.OutPort(0, 8);
        Assert.Equal(0x81u, _card.InPort(4));
    }

    [Fact]
    public void Frames_are_sent_from_several_buffers()
    {
        byte[] frame = [.. Enumerable.Range(0, 200).Select(i => (byte)i)];
        _card.Put(Source, frame);
        _card.Queue(Source, 50, tells: false);
        _card.Queue(Source + 50, 150 | Eop | Report);
        Assert.Equal(frame, Assert.Single(_network.Sent).Frame);
        Assert.Equal(default, _network.Sent[0].Offload);
        Assert.Equal(0, _card.Descriptor(E1000Machine.TransmitRing, 0)[12]);
        Assert.Equal(1, _card.Descriptor(E1000Machine.TransmitRing, 1)[12]);
        Assert.Equal(2u, _card.Read(0x3810));
        Assert.True(_card.Line.Level);
        Assert.Equal(0x8000_0003u, _card.Read(0xC0));
        Assert.False(_card.Line.Level);
        Assert.Equal(1u, _card.Read(0x4080));
        Assert.Equal(0u, _card.Read(0x4080));
        // The ring ends.
        for (int i = 0; i < 20; i++)
            _card.Queue(Source, 60 | Eop | Report);
        Assert.Equal(21, _network.Sent.Count);
        // What is too long, or not RAM, is dropped.
        for (int i = 0; i < 3; i++)
            _card.Queue(Source, 0x7FFF0 & 0xFFFF, tells: i == 1);
        _card.Queue(Source, 60 | Eop);
        _card.Queue(0x8000_0000, 60 | Eop);
        Assert.Equal(21, _network.Sent.Count);
        _card.Queue(Source, 60 | Eop);
        Assert.Equal(22, _network.Sent.Count);
    }

    [Fact]
    public void Checksums_are_left_to_the_card()
    {
        _card.Put(Source, new byte[100]);
        _card.Queue(Source, 100 | Eop | InsertSum | (50UL << 16) | (34UL << 40));
        FrameOffload offload = _network.Sent[^1].Offload;
        Assert.True(offload.NeedsChecksum);
        Assert.Equal((34, 16), (offload.ChecksumStart, offload.ChecksumOffset));
        // By a context: IP 14 to 33 with its sum at 24, TCP from 34 with its sum at 50.
        byte[] ip = [0x45, 0, 0, 86, 0, 0, 0, 0, 64, 6, 0xAA, 0xAA, 10, 0, 0, 1, 10, 0, 0, 2];
        _card.Put(Source + 14, ip);
        _card.Queue(14 | (24UL << 8) | (33UL << 16) | (34UL << 32) | (50UL << 40), Extended, tells: false);
        _card.Queue(Source, 100 | Data | Extended | Eop | (3UL << 40));
        (offload, byte[] frame) = _network.Sent[^1];
        Assert.Equal((34, 16), (offload.ChecksumStart, offload.ChecksumOffset));
        Assert.Equal(0, InternetChecksum.Finish(InternetChecksum.Add(frame.AsSpan(14, 20))));
        // Without a back end that takes them, they are finished here.
        _network.Offloads = NetworkOffloads.None;
        _card.Queue(Source, 100 | Data | Extended | Eop | (2UL << 40));
        Assert.Equal(default, _network.Sent[^1].Offload);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Tcp_is_cut_into_segments(bool backendCuts)
    {
        const int Payload = 5000, Mss = 1460;
        byte[] frame = new byte[54 + Payload];
        new Random(1).NextBytes(frame.AsSpan(54));
        ((byte[])[0x45, 0, 0, 0, 0, 7, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]).CopyTo(frame, 14);
        (frame[12], frame[13]) = (8, 0);
        ((byte[])[0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0]).CopyTo(frame, 34);
        _card.Put(Source, frame);
        _network.Offloads = backendCuts ? NetworkOffloads.All : NetworkOffloads.None;
        _card.Queue(14 | (24UL << 8) | (33UL << 16) | (34UL << 32) | (50UL << 40), (ulong)Payload | Extended | (7UL << 24) | (54UL << 40) | ((ulong)Mss << 48), tells: false);
        _card.Queue(Source, 54 | Data | Extended | Segment | (3UL << 40), tells: false);
        _card.Queue(Source + 54, Payload | Data | Extended | Segment | Eop | Report);
        byte[][] segments;
        if (backendCuts)
        {
            (FrameOffload offload, byte[] whole) = Assert.Single(_network.Sent);
            Assert.Equal((SegmentKind.Tcp4, Mss, 34, 16), (offload.Kind, offload.SegmentSize, offload.ChecksumStart, offload.ChecksumOffset));
            Assert.Equal(20 + 20 + Payload, BinaryPrimitives.ReadUInt16BigEndian(whole.AsSpan(16)));
            var segmenter = new FrameSegmenter(offload, whole);
            segments = new byte[segmenter.Count][];
            for (int i = 0; i < segments.Length; i++)
            {
                byte[] segment = new byte[segmenter.MaximumLength];
                segments[i] = segment[..segmenter.Write(i, segment)];
            }
        }
        else
        {
            segments = [.. _network.Sent.Select(sent => sent.Frame)];
        }

        Assert.Equal(4, segments.Length);
        Assert.Equal(frame[54..], segments.SelectMany(segment => segment[54..]));
        foreach (byte[] segment in segments)
        {
            Assert.Equal(0, InternetChecksum.Finish(InternetChecksum.Add(segment.AsSpan(14, 20))));
            Span<byte> pseudo = [10, 0, 2, 15, 10, 0, 2, 2, 0, 6, 0, 0];
            BinaryPrimitives.WriteUInt16BigEndian(pseudo[10..], (ushort)(segment.Length - 34));
            Assert.Equal(0, InternetChecksum.Finish(InternetChecksum.Add(segment.AsSpan(34), InternetChecksum.Add(pseudo))));
        }
    }

    [Fact]
    public void Frames_are_received_and_filtered()
    {
        byte[] frame = Frame([0x52, 0x54, 0, 1, 2, 3], 100);
        _network.Deliver(frame);
        byte[] descriptor = _card.Descriptor(E1000Machine.ReceiveRing, 0);
        Assert.Equal(100, BinaryPrimitives.ReadUInt16LittleEndian(descriptor.AsSpan(8)));
        Assert.Equal(3, descriptor[12] & 3);
        Assert.Equal(frame, _card.Bytes(E1000Machine.Buffers, 100));
        Assert.Equal(0x80u, _card.Read(0xC0) & 0x80);
        _network.Deliver(Frame([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 20));
        Assert.Equal(60, BinaryPrimitives.ReadUInt16LittleEndian(_card.Descriptor(E1000Machine.ReceiveRing, 1).AsSpan(8)));
        _network.Deliver(Frame([0x52, 0x54, 0, 1, 2, 4], 100));
        _network.Deliver(Frame([1, 0, 0x5E, 0, 0, 0xFB], 100));
        Assert.Equal(2u, _card.Read(0x2810));
        // The multicast hash: bits 47 to 36 of the address.
        _card.Write(0x5200 + (4 * (0xFB0 >> 5)), 1u << (0xFB0 & 31));
        _network.Deliver(Frame([1, 0, 0x5E, 0, 0, 0xFB], 100));
        Assert.Equal(3u, _card.Read(0x2810));
        _card.Write(0x100, 0x0000_800A);
        _network.Deliver(Frame([2, 2, 2, 2, 2, 2], 100));
        // With its check sequence.
        descriptor = _card.Descriptor(E1000Machine.ReceiveRing, 3);
        Assert.Equal(104, BinaryPrimitives.ReadUInt16LittleEndian(descriptor.AsSpan(8)));
        Assert.Equal(0xCBF43926u, Doppel.Devices.Cards.FrameCheck.Of("123456789"u8));
        // Too long for a normal frame, and not for small buffers.
        _network.Deliver(Frame([2, 2, 2, 2, 2, 2], 3000));
        Assert.Equal(4u, _card.Read(0x2810));
        _card.Write(0x100, 0x0402_802A);
        byte[] large = Frame([2, 2, 2, 2, 2, 2], 1200);
        _network.Deliver(large);
        Assert.Equal(7u, _card.Read(0x2810));
        Assert.Equal([1, 1, 3], Enumerable.Range(4, 3).Select(i => _card.Descriptor(E1000Machine.ReceiveRing, i)[12] & 3));
        Assert.Equal(large, Enumerable.Range(4, 3).SelectMany(i => _card.Bytes(E1000Machine.Buffers + (i * 0x1000), i == 6 ? 176 : 512)));
    }

    [Fact]
    public void A_full_ring_makes_frames_wait()
    {
        for (int i = 0; i < 20; i++)
            _network.Deliver(Frame([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 60 + i));
        Assert.Equal(15u, _card.Read(0x2810));
        Assert.Equal(0x10u, _card.Read(0xC0) & 0x10);
        _card.Write(0x2818, 14);
        Assert.Equal(4u, _card.Read(0x2810));
        Assert.Equal(79, BinaryPrimitives.ReadUInt16LittleEndian(_card.Descriptor(E1000Machine.ReceiveRing, 3).AsSpan(8)));
    }

    [Fact]
    public void Tags_are_taken_off_and_put_on()
    {
        _card.Write(0, 0x4000_0240);
        byte[] frame = Frame([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 100);
        (frame[12], frame[13], frame[14], frame[15]) = (0x81, 0, 0x20, 5);
        _network.Deliver(frame);
        byte[] descriptor = _card.Descriptor(E1000Machine.ReceiveRing, 0);
        Assert.Equal(8, descriptor[12] & 8);
        Assert.Equal(0x2005, BinaryPrimitives.ReadUInt16LittleEndian(descriptor.AsSpan(14)));
        byte[] bare = [.. frame[..12], .. frame[16..]];
        Assert.Equal(bare, _card.Bytes(E1000Machine.Buffers, 96));
        _card.Put(Source, bare);
        _card.Queue(Source, 96 | Eop | (0x40UL << 24) | (0x2005UL << 48));
        Assert.Equal(frame, _network.Sent[^1].Frame);
        // A VLAN that nobody wants.
        _card.Write(0x100, 0x0404_8002);
        _network.Deliver(frame);
        Assert.Equal(1u, _card.Read(0x2810));
        _card.Write(0x5600, 1 << 5);
        _network.Deliver(frame);
        Assert.Equal(2u, _card.Read(0x2810));
    }

    [Fact]
    public void Interrupts_are_throttled()
    {
        _card.Write(0xC4, 1000);
        byte[] frame = Frame([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 60);
        _card.Clock.Advance(1_000_000);
        _network.Deliver(frame);
        Assert.True(_card.Line.Level);
        _ = _card.Read(0xC0);
        _network.Deliver(frame);
        Assert.False(_card.Line.Level);
        _card.Clock.Advance(255_999);
        Assert.False(_card.Line.Level);
        _card.Clock.Advance(1);
        Assert.True(_card.Line.Level);
    }

    [Fact]
    public async Task Half_a_frame_goes_on_in_another_machine()
    {
        byte[] frame = [.. Enumerable.Range(0, 100).Select(i => (byte)i)];
        _card.Put(Source, frame);
        _card.Queue(Source, 30);
        _ = ReadByWires(5, 12);
        using var there = new E1000Machine(_network);
        await there.MoveFromAsync(_card);
        there.Queue(Source + 30, 70 | Eop);
        Assert.Equal(frame, Assert.Single(_network.Sent).Frame);
        // A restored card tells that its link was away.
        Assert.Equal(4u, there.Read(0xC0) & 4);
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
        int[] registers = [0, 8, 0x10, 0x14, 0x20, 0x38, 0xC0, 0xC4, 0xC8, 0xD0, 0xD8, 0x100, 0x400, 0x2808, 0x2810, 0x2818, 0x3808, 0x3810, 0x3818, 0x5200, 0x5404, 0x5600, 0x4080];
        E1000Machine card = new(_network);
        try
        {
            for (int i = 0; i < accesses; i++)
            {
                switch (random.Next(10))
                {
                    case 0 or 1:
                        card.Write(registers[random.Next(registers.Length)], (uint)random.NextInt64());
                        break;
                    case 2:
                        _ = card.Read(random.Next(0x2_0000) & ~3);
                        break;
                    case 3 when random.Next(4) == 0:
                        card.Start((uint)random.NextInt64() | 2);
                        break;
                    case 4:
                        byte[] frame = new byte[random.Next(14, random.Next(10) == 0 ? 60000 : 2000)];
                        random.NextBytes(frame);
                        if (random.Next(2) == 0)
                            frame.AsSpan(0, 6).Fill(0xFF);
                        _network.Deliver(frame);
                        break;
                    case 5:
                        card.OutPort(random.Next(3) * 4, (uint)random.NextInt64() & 0x3FFC);
                        break;
                    default:
                        ulong high = (ulong)random.NextInt64() & 0x00FF_FFFF_FF0F_0FFF;
                        if (random.Next(2) == 0)
                            high |= Data;
                        card.Queue(random.Next(8) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(Source, (int)E1000Machine.RamSize), high, random.Next(3) == 0);
                        break;
                }

                _network.Sent.Clear();
                if (random.Next(4000) == 0)
                {
                    card.Clock.Advance(random.Next(10_000_000));
                    E1000Machine there = new(_network);
                    await there.MoveFromAsync(card);
                    card.Dispose();
                    card = there;
                }
            }

            card.Write(0, 1 << 26);
            card.Start();
            card.Put(Source, new byte[64]);
            card.Queue(Source, 64 | Eop);
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
    private ushort ReadByWires(int word, int bits = 16)
    {
        const uint Select = 2, Clock = 1;
        void Pulse(uint data)
        {
            _card.Write(0x10, Select | (data << 2));
            _card.Write(0x10, Select | (data << 2) | Clock);
            _card.Write(0x10, Select | (data << 2));
        }

        _card.Write(0x10, 0);
        _card.Write(0x10, Select);
        for (int i = 8; i >= 0; i--)
            Pulse((uint)(((6 << 6) | word) >> i) & 1);
        uint value = 0;
        for (int i = 0; i < bits; i++)
        {
            _card.Write(0x10, Select | Clock);
            value = (value << 1) | ((_card.Read(0x10) >> 3) & 1);
            _card.Write(0x10, Select);
        }

        if (bits == 16)
            _card.Write(0x10, 0);
        return (ushort)value;
    }
}
