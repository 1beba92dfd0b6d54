using System.Net.Sockets;
using Doppel.Devices.Network;

namespace Doppel.Devices.Tests.Network;

/// <summary>The switch: who hears whom, who leaves and comes, and who is slow.</summary>
public sealed class SwitchNetworkTests : IDisposable
{
    private readonly string _directory = Path.Combine(Path.GetTempPath(), $"doppel-sw-{Guid.NewGuid().ToString("N")[..8]}");
    private readonly List<SwitchNetwork> _members = [];
    private readonly List<RecordingAdapter> _adapters = [];

    public void Dispose()
    {
        foreach (SwitchNetwork member in _members)
            member.Dispose();
        Assert.Empty(Directory.EnumerateFileSystemEntries(_directory));
        Directory.Delete(_directory);
    }

    [Fact]
    public void Frames_go_to_all_until_their_receiver_is_known_and_then_to_it_alone()
    {
        RecordingAdapter a = Join(1), b = Join(2), c = Join(3);
        a.Send(Frame(2, 1, 7));
        Assert.Equal(Frame(2, 1, 7), b.Next().Frame);
        Assert.Equal(Frame(2, 1, 7), c.Next().Frame);
        b.Send(Frame(1, 2, 8));
        Assert.Equal(Frame(1, 2, 8), a.Next().Frame);
        a.Send(Frame(2, 1, 9));
        a.Send(Frame(0xFFFF_FFFF_FFFF, 1, 10));
        Assert.Equal(Frame(2, 1, 9), b.Next().Frame);
        Assert.Equal(Frame(0xFFFF_FFFF_FFFF, 1, 10), b.Next().Frame);
        // c has heard neither b's answer nor a's second frame.
        Assert.Equal(Frame(0xFFFF_FFFF_FFFF, 1, 10), c.Next().Frame);
        Assert.False(a.HasReceived());
    }

    [Fact]
    public void Large_frames_cross_it_as_they_are()
    {
        RecordingAdapter a = Join(1), b = Join(2);
        (FrameOffload offload, byte[] frame) = Frames.Unfinished(new Random(1), SegmentKind.Tcp4, isIpv6: false, 65_000, 1448);
        a.Send(frame, offload);
        (FrameOffload Offload, byte[] Frame) received = b.Next();
        Assert.Equal(offload, received.Offload);
        Assert.Equal(frame, received.Frame);
    }

    [Fact]
    public void What_comes_for_a_guest_that_stands_still_can_be_taken_and_given_to_it_later()
    {
        RecordingAdapter a = Join(1), b = Join(2);
        a.Send(Frame(2, 1, 0));
        _ = b.Next();
        using var taken = new System.Collections.Concurrent.BlockingCollection<byte[]>();
        _members[1].Divert((_, frame) => taken.Add(frame));
        a.Send(Frame(2, 1, 5));
        byte[] first = taken.Take();
        Assert.Equal(Frame(2, 1, 5), first);
        Assert.False(b.HasReceived());
        _members[1].Divert(null);
        _members[1].Inject(default, first);
        Assert.Equal(Frame(2, 1, 5), b.Next().Frame);
        a.Send(Frame(2, 1, 6));
        Assert.Equal(Frame(2, 1, 6), b.Next().Frame);
    }

    [Fact]
    public void Nothing_is_lost_between_two_that_both_send_as_fast_as_they_can()
    {
        RecordingAdapter a = Join(1), b = Join(2);
        a.Send(Frame(2, 1, 0));
        b.Send(Frame(1, 2, 0));
        _ = b.Next();
        _ = a.Next();
        byte[] filler = new byte[60_000];
        for (byte i = 1; i <= 200; i++)
        {
            a.Send([.. Frame(2, 1, i), .. filler]);
            b.Send([.. Frame(1, 2, i), .. filler]);
        }

        for (byte i = 1; i <= 200; i++)
        {
            Assert.Equal(i, b.Next().Frame[14]);
            Assert.Equal(i, a.Next().Frame[14]);
        }
    }

    [Fact]
    public void A_guest_without_room_makes_its_sender_wait_and_then_loses_frames_without_harm_to_others()
    {
        RecordingAdapter a = Join(1), b = Join(2), c = Join(3);
        foreach ((RecordingAdapter member, byte number) in ((RecordingAdapter, byte)[])[(b, 2), (c, 3)])
        {
            member.Send(Frame(1, number, 0));
            _ = a.Next();
        }

        _ = b.Next();
        _ = c.Next();
        b.IsFull = true;
        byte[] filler = new byte[60_000];
        for (int i = 0; i < 100; i++)
            a.Send([.. Frame(2, 1, 1), .. filler]);
        a.Send(Frame(3, 1, 2));
        Assert.Equal(2, c.Next().Frame[14]);
        b.IsFull = false;
        Assert.True(Eventually(() =>
        {
            a.Send(Frame(2, 1, 3));
            return b.HasReceived() && b.Next().Frame[14] == 3;
        }));
    }

    [Fact]
    public void Members_come_and_go_and_come_again()
    {
        RecordingAdapter a = Join(1), b = Join(2);
        a.Send(Frame(2, 1, 1));
        _ = b.Next();
        Leave(0);
        Assert.False(File.Exists(Path.Combine(_directory, "000000000001.member")));
        RecordingAdapter again = Join(1);
        b.Send(Frame(1, 2, 2));
        Assert.Equal(2, again.Next().Frame[14]);
        again.Send(Frame(2, 1, 3));
        Assert.Equal(3, b.Next().Frame[14]);
    }

    [Fact]
    public void The_socket_of_a_dead_member_is_cleared_away()
    {
        _ = Directory.CreateDirectory(_directory);
        string path = Path.Combine(_directory, "000000000001.member");
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified))
            dead.Bind(new UnixDomainSocketEndPoint(path + "x"));
        // .NET removes the file of a socket that is closed; a process that is killed doesn't.
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(path + "y"));
            File.Move(path + "y", path);
        }

        Assert.True(File.Exists(path));
        Assert.False(SwitchNetwork.IsTaken(_directory, new MacAddress(1)));
        Assert.False(File.Exists(path));
        RecordingAdapter a = Join(1), b = Join(2);
        a.Send(Frame(2, 1, 1));
        _ = b.Next();
    }

    [Fact]
    public void An_address_has_one_member()
    {
        _ = Join(1);
        Assert.True(SwitchNetwork.IsTaken(_directory, new MacAddress(1)));
        IOException error = Assert.Throws<IOException>(() => new SwitchNetwork(_directory, new MacAddress(1)));
        Assert.Contains("another member's", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_speaks_another_language_is_shown_out_and_does_no_harm()
    {
        RecordingAdapter a = Join(1), b = Join(2);
        foreach (byte[] message in (byte[][])[[1], new byte[100], "doppel switch 1\nx"u8.ToArray()])
        {
            using var stranger = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
            stranger.Connect(new UnixDomainSocketEndPoint(Path.Combine(_directory, "000000000001.member")));
            _ = stranger.Send(message);
            byte[] nonsense = new byte[60];
            new Random(1).NextBytes(nonsense);
            try
            {
                for (int i = 0; i < 30; i++)
                    _ = stranger.Send(nonsense.AsSpan(0, i * 2));
            }
            catch (SocketException)
            {
                // Shown out.
            }
        }

        a.Send(Frame(2, 1, 1));
        Assert.Equal(Frame(2, 1, 1), b.Next().Frame);
        Assert.Null(a.Failure);
    }

    [Fact]
    public void Many_that_join_at_once_all_hear_each_other_once()
    {
        RecordingAdapter[] members = new RecordingAdapter[8];
        Parallel.For(0, members.Length, new ParallelOptions { MaxDegreeOfParallelism = members.Length }, i => members[i] = JoinUnheard(i + 1));
        var missing = (from member in Enumerable.Range(0, members.Length) from other in Enumerable.Range(0, members.Length) where member != other select (member, other)).ToHashSet();
        // A member that is being greeted may not hear the first.
        Assert.True(
            Eventually(() =>
            {
                for (int i = 0; i < members.Length; i++)
                {
                    members[i].Send(Frame(0xFFFF_FFFF_FFFF, (ulong)i + 1, (byte)i));
                    while (members[i].HasReceived())
                        _ = missing.Remove((members[i].Next().Frame[14], i));
                }

                return missing.Count == 0;
            }),
            $"{string.Join(' ', missing)}; {string.Join(' ', members.Select(member => member.Failure?.ToString()))}");
    }

    private static bool Eventually(Func<bool> condition)
    {
        for (int i = 0; i < 3000; i++)
        {
            if (condition())
                return true;
            Thread.Sleep(10);
        }

        return false;
    }

    private static byte[] Frame(ulong to, ulong from, byte content)
    {
        byte[] frame = new byte[60];
        new MacAddress(to).Write(frame);
        new MacAddress(from).Write(frame.AsSpan(6));
        (frame[12], frame[13], frame[14]) = (0x88, 0xB5, content);
        return frame;
    }

    /// <summary>A new member, to which those that were there have listened.</summary>
    private RecordingAdapter Join(int number)
    {
        const byte Hello = 255;
        RecordingAdapter member = JoinUnheard(number);
        // From an address that no test sends to, so that it is all that is learned.
        member.Send(Frame(0xFFFF_FFFF_FFFF, 0x0200_0000_0000 + (ulong)number, Hello));
        foreach (RecordingAdapter other in _adapters.Where(other => other != member))
            Assert.Equal(Hello, other.Next().Frame[14]);
        return member;
    }

    private RecordingAdapter JoinUnheard(int number)
    {
        var member = new SwitchNetwork(_directory, new MacAddress((ulong)number));
        var adapter = new RecordingAdapter(member);
        lock (_members)
        {
            _members.Add(member);
            _adapters.Add(adapter);
        }

        return adapter;
    }

    private void Leave(int index)
    {
        _members[index].Dispose();
        _members.RemoveAt(index);
        _adapters.RemoveAt(index);
    }
}
