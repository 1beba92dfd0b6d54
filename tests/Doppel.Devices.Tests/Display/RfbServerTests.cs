using System.Net.Sockets;
using Doppel.Devices.Display.Rfb;
using Doppel.Devices.Input;
using Xunit.Abstractions;

namespace Doppel.Devices.Tests.Display;

public sealed class RfbServerTests(ITestOutputHelper output) : IAsyncDisposable
{
    private const int Raw = 0, CopyRect = 1, Hextile = 5, Zlib = 6, Tight = 7, Zrle = 16, DesktopSize = -223, ExtendedDesktopSize = -308, ExtendedKey = -258;
    private readonly TestDisplay _screen = new(200, 120);
    private readonly GuestInput _input = new();
    private readonly RecordedKeyboard _keyboard = new();
    private RfbServer? _server;

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
            await _server.DisposeAsync();
        _screen.Dispose();
    }

    [Theory]
    [InlineData(Raw)]
    [InlineData(Hextile)]
    [InlineData(Zlib)]
    [InlineData(Tight)]
    [InlineData(Zrle)]
    public void A_client_sees_the_picture_and_each_change_in_every_encoding(int encoding)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        _screen.Paint((pixels, _) => FillRandom(pixels, random, 0, pixels.Length));
        using RfbTestClient client = Connect();
        client.Enter(encoding);
        Assert.Equal((200, 120, "test"), (client.Width, client.Height, client.Name));
        client.Request(isIncremental: false);
        client.ReadUpdate();
        client.WaitFor(() => _screen.Pixels);
        for (int round = 0; round < 12; round++)
        {
            // Few colours, many, and long runs, in some part of the picture.
            int from = random.Next(200 * 100), count = random.Next(1, 200 * 20), kind = round % 4;
            uint[] few = [.. Enumerable.Range(0, kind == 1 ? 2 : 9).Select(_ => (uint)random.Next(1 << 24))];
            _screen.Paint((pixels, _) =>
            {
                if (kind == 0)
                    FillRandom(pixels, random, from, count);
                else if (kind == 3)
                    Array.Fill(pixels, few[0], from, count);
                else
                    for (int i = from; i < from + count; i++)
                        pixels[i] = few[random.Next(few.Length)];
            });
            client.WaitFor(() => _screen.Pixels);
        }

        Assert.All(client.Seen, seen => Assert.Equal(encoding, seen));
    }

    [Fact]
    public void A_scrolled_picture_is_copied_at_the_client()
    {
        var random = new Random(1);
        _screen.Paint((pixels, _) => FillRandom(pixels, random, 0, pixels.Length));
        using RfbTestClient client = Connect();
        client.Enter(CopyRect, Zrle);
        client.Request(isIncremental: false);
        client.ReadUpdate();
        client.WaitFor(() => _screen.Pixels);
        _screen.Paint((pixels, width) =>
        {
            Array.Copy(pixels, 16 * width, pixels, 0, pixels.Length - (16 * width));
            Array.Clear(pixels, pixels.Length - (16 * width), 16 * width);
        });
        client.WaitFor(() => _screen.Pixels);
        Assert.Contains(CopyRect, client.Seen);
    }

    [Theory]
    [InlineData(DesktopSize)]
    [InlineData(ExtendedDesktopSize)]
    public void A_client_follows_a_new_size(int encoding)
    {
        using RfbTestClient client = Connect();
        client.Enter(Zrle, encoding);
        client.Request(isIncremental: false);
        client.ReadUpdate();
        _screen.Resize(333, 77, 0x123456);
        client.WaitFor(() => _screen.Pixels);
        Assert.Equal((333, 77), (client.Width, client.Height));
    }

    [Fact]
    public void A_client_that_knows_no_other_size_goes_on_with_its_own()
    {
        using RfbTestClient client = Connect();
        client.Enter(Raw);
        client.Request(isIncremental: false);
        client.ReadUpdate();
        _screen.Resize(100, 300, 0x00FF00);
        client.WaitFor(() =>
        {
            uint[] expected = new uint[200 * 120];
            for (int i = 0; i < expected.Length; i++)
                expected[i] = i % 200 < 100 ? 0x00FF00u : 0;
            return expected;
        });
    }

    [Fact]
    public void Keys_come_by_symbol_and_by_place_and_are_let_go_when_the_client_leaves()
    {
        using (RfbTestClient client = Connect())
        {
            client.Enter(Raw, ExtendedKey);
            client.Request(isIncremental: false);
            client.ReadUpdate();
            Assert.Contains(ExtendedKey, client.Seen);
            // "A" without Shift needs one; then F12 by its place, and it stays down.
            client.Send([4, 1, 0, 0, 0, 0, 0, (byte)'A']);
            client.Send([4, 0, 0, 0, 0, 0, 0, (byte)'A']);
            client.Send([255, 0, 0, 1, 0, 0, 0xFF, 0xC9, 0, 0, 0, 0x58]);
            _keyboard.WaitFor(5);
        }

        _keyboard.WaitFor(6);
        Assert.Equal([(0x2A, true), (0x1E, true), (0x1E, false), (0x2A, false), (0x58, true), (0x58, false)], _keyboard.Keys);
    }

    [Fact]
    public void A_password_lets_in_who_knows_it()
    {
        _server = Start(new RfbOptions { Password = "secret", Name = "test" });
        using (RfbTestClient client = RfbTestClient.Connect(_server.EndPoint))
        {
            Assert.Equal([2], client.Greet());
            client.Choose(2);
            client.Send(RfbHandshake.Answer("secret", client.ReadBytes(16)));
            Assert.Equal(0u, client.ReadResult());
            client.Initialize(Raw);
        }

        using RfbTestClient other = RfbTestClient.Connect(_server.EndPoint);
        _ = other.Greet();
        other.Choose(2);
        other.Send(RfbHandshake.Answer("Secret", other.ReadBytes(16)));
        Assert.Equal(1u, other.ReadResult());
        Assert.Contains("password", other.ReadReason());
    }

    [Fact]
    public void The_answer_to_a_challenge_is_DES_with_the_bits_of_the_password_turned_round()
    {
        // The answer is openssl's (enc -des-ecb -nopad) with the key 8646C60000000000.
        byte[] challenge = [.. Enumerable.Range(0, 16).Select(i => (byte)i)];
        Assert.Equal("9C22B4F2088C3465A1562C4B9D6EDB04", Convert.ToHexString(RfbHandshake.Answer("abc", challenge)));
        // Only eight characters count.
        Assert.Equal(RfbHandshake.Answer("12345678", challenge), RfbHandshake.Answer("123456789", challenge));
    }

    [Fact]
    public void A_client_that_reads_nothing_holds_up_no_other()
    {
        using RfbTestClient slow = Connect();
        slow.Enter(Raw);
        slow.Request(isIncremental: false);
        using RfbTestClient quick = RfbTestClient.Connect(_server!.EndPoint);
        quick.Enter(Zrle);
        quick.Request(isIncremental: false);
        quick.ReadUpdate();
        var random = new Random(2);
        for (int i = 0; i < 20; i++)
        {
            slow.Request(isIncremental: false);
            _screen.Paint((pixels, _) => FillRandom(pixels, random, 0, pixels.Length));
            quick.WaitFor(() => _screen.Pixels);
        }
    }

    [Fact]
    public void Nonsense_ends_a_connection_and_nothing_else()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        _server = Start(new RfbOptions { Name = "test" });
        for (int round = 0; round < 30; round++)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Connect(_server.EndPoint);
            byte[] junk = new byte[random.Next(1, 400)];
            random.NextBytes(junk);
            if (round % 2 == 0)
                "RFB 003.008\n\u0001\u0001"u8.ToArray().CopyTo(junk = new byte[14 + junk.Length], 0);
            socket.Send(junk);
        }

        using RfbTestClient client = RfbTestClient.Connect(_server.EndPoint);
        client.Enter(Raw);
        client.Request(isIncremental: false);
        client.ReadUpdate();
    }

    [Fact]
    public void A_pixel_of_16_bits_has_the_bits_that_the_client_asked_for()
    {
        _screen.Paint((pixels, _) => Array.Fill(pixels, 0xFF8040u));
        using RfbTestClient client = Connect();
        client.Enter(Raw);
        // 5-6-5, big-endian.
        client.Send([0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]);
        byte[] request = [3, 0, 0, 0, 0, 0, 0, 4, 0, 1];
        client.Send(request);
        byte[] head = client.ReadBytes(4 + 12);
        Assert.Equal(1, head[3]);
        Assert.Equal([0xFC, 0x08, 0xFC, 0x08, 0xFC, 0x08, 0xFC, 0x08], client.ReadBytes(8));
    }

    private static void FillRandom(uint[] pixels, Random random, int from, int count)
    {
        for (int i = from; i < from + count; i++)
            pixels[i] = (uint)random.Next(1 << 24);
    }

    private RfbTestClient Connect()
    {
        _server = Start(new RfbOptions { Name = "test" });
        return RfbTestClient.Connect(_server.EndPoint);
    }

    private RfbServer Start(RfbOptions options)
    {
        _ = _input.Attach(_keyboard, new Lock());
        return RfbServer.Start(_screen.Display, _input, options);
    }

    private sealed class RecordedKeyboard : IKeyboardDevice
    {
        private readonly List<(int Key, bool IsDown)> _keys = [];

        public bool IsReady => true;

        internal List<(int Key, bool IsDown)> Keys
        {
            get
            {
                lock (_keys)
                    return [.. _keys];
            }
        }

        public void SetKey(KeyCode key, bool isDown)
        {
            lock (_keys)
            {
                _keys.Add((key.Number, isDown));
                Monitor.PulseAll(_keys);
            }
        }

        internal void WaitFor(int count)
        {
            lock (_keys)
            {
                while (_keys.Count < count)
                    Assert.True(Monitor.Wait(_keys, TimeSpan.FromSeconds(20)), $"{_keys.Count} keys came");
            }
        }
    }
}
