using System.Buffers.Binary;
using Doppel.Devices.Network;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Network;

/// <summary>Checksums and segmentation in software, against a plain computation.</summary>
public sealed class SegmentationTests(ITestOutputHelper output)
{
    [Fact]
    public void A_checksum_is_that_of_RFC_1071_whatever_the_length()
    {
        Random random = Seeded();
        for (int length = 0; length < 400; length++)
        {
            byte[] bytes = new byte[length];
            random.NextBytes(bytes);
            Assert.Equal((ushort)~Frames.Sum(bytes), InternetChecksum.Finish(InternetChecksum.Add(bytes)));
        }

        byte[] ones = new byte[70_000];
        Array.Fill(ones, (byte)0xFF);
        Assert.Equal(0, InternetChecksum.Finish(InternetChecksum.Add(ones)));
    }

    [Theory]
    [InlineData(SegmentKind.Tcp4, false)]
    [InlineData(SegmentKind.Tcp6, true)]
    [InlineData(SegmentKind.Udp, false)]
    [InlineData(SegmentKind.Udp, true)]
    public void A_large_frame_becomes_right_segments(SegmentKind kind, bool isIpv6)
    {
        Random random = Seeded();
        for (int round = 0; round < 40; round++)
        {
            int size = random.Next(1, 1500), payload = random.Next(1, 20_000);
            (FrameOffload offload, byte[] frame) = Frames.Unfinished(random, kind, isIpv6, payload, size, round % 3);
            Assert.True(FrameSegmenter.CanSegment(offload, frame));
            var segmenter = new FrameSegmenter(offload, frame);
            int header = frame.Length - payload, transport = offload.ChecksumStart;
            var all = new List<byte>();
            for (int i = 0; i < segmenter.Count; i++)
            {
                byte[] buffer = new byte[segmenter.MaximumLength];
                byte[] segment = buffer[..segmenter.Write(i, buffer)];
                Assert.True(i == segmenter.Count - 1 || segment.Length == header + size);
                if (kind != SegmentKind.Udp)
                {
                    Assert.Equal(BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(transport + 4)) + (uint)all.Count, BinaryPrimitives.ReadUInt32BigEndian(segment.AsSpan(transport + 4)));
                    Assert.Equal(0x10 | (i == 0 ? 0x80 : 0) | (i == segmenter.Count - 1 ? 9 : 0), segment[transport + 13]);
                }

                all.AddRange(Frames.Check(segment));
            }

            Assert.Equal(frame[header..], all);
        }
    }

    [Theory]
    [InlineData(SegmentKind.Tcp4, false)]
    [InlineData(SegmentKind.Udp, true)]
    public void A_checksum_is_completed_in_place(SegmentKind kind, bool isIpv6)
    {
        Random random = Seeded();
        for (int payload = 0; payload < 100; payload++)
        {
            (FrameOffload offload, byte[] frame) = Frames.Unfinished(random, kind, isIpv6, payload, 0);
            InternetChecksum.Complete(offload, frame);
            _ = Frames.Check(frame);
        }
    }

    [Fact]
    public void Headers_that_do_not_fit_their_frame_are_refused_and_others_do_no_harm()
    {
        Random random = Seeded();
        byte[] header = new byte[FrameOffload.Length], target = new byte[70_000];
        int cut = 0;
        for (int round = 0; round < 200_000; round++)
        {
            SegmentKind kind = (SegmentKind[])[SegmentKind.Tcp4, SegmentKind.Tcp6, SegmentKind.Udp] is var kinds ? kinds[random.Next(3)] : default;
            (FrameOffload offload, byte[] frame) = Frames.Unfinished(random, kind, kind == SegmentKind.Tcp6, random.Next(0, 200), random.Next(1, 100));
            offload.Write(header, 1);
            for (int i = random.Next(3); i > 0; i--)
                header[random.Next(header.Length)] = (byte)random.Next(256);
            for (int i = random.Next(3); i > 0; i--)
                frame[random.Next(12, Math.Min(frame.Length, 60))] = (byte)random.Next(256);
            if (random.Next(4) == 0)
                frame = frame[..random.Next(14, frame.Length)];
            if (!FrameOffload.TryRead(header, frame, out FrameOffload read))
                continue;
            if (read.Kind == SegmentKind.None)
            {
                if (read.NeedsChecksum)
                    InternetChecksum.Complete(read, frame);
                continue;
            }

            cut++;
            var segmenter = new FrameSegmenter(read, frame);
            for (int i = 0; i < segmenter.Count; i++)
                Assert.True(segmenter.Write(i, target) <= segmenter.MaximumLength);
        }

        Assert.True(cut > 1000);
    }

    [Theory]
    [InlineData("02:12:34:56:78:9a", true)]
    [InlineData("52:54:00:AB:cd:ef", true)]
    [InlineData("01:12:34:56:78:9a", false)]
    [InlineData("00:00:00:00:00:00", false)]
    [InlineData("02:12:34:56:78", false)]
    [InlineData("02-12-34-56-78-9a", false)]
    [InlineData("02:12:34:56:78:9a:bc", false)]
    [InlineData("2:12:34:56:78:9a", false)]
    public void An_address_is_read_as_people_write_it(string text, bool isRight)
    {
        Assert.Equal(isRight, MacAddress.TryParse(text, out MacAddress address));
        if (isRight)
            Assert.Equal(text, address.ToString(), ignoreCase: true);
        byte[] bytes = new byte[6];
        MacAddress.Derive(text).Write(bytes);
        Assert.Equal(2, bytes[0] & 3);
        Assert.Equal(MacAddress.Derive(text), MacAddress.Read(bytes));
    }

    private Random Seeded()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return new Random(seed);
    }
}
