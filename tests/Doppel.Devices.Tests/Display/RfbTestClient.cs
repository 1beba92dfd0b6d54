using System.Buffers.Binary;
using System.IO.Compression;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Doppel.Devices.Tests.Display;

/// <summary>An RFB client after the texts of RFC 6143 and rfbproto, with 32 bits a pixel. It keeps the picture.</summary>
internal sealed class RfbTestClient : IDisposable
{
    private Stream _stream;
    private readonly Dictionary<int, Inflater> _streams = [];

    private RfbTestClient(Stream stream) => _stream = stream;

    internal int Width { get; private set; }

    internal int Height { get; private set; }

    internal string Name { get; private set; } = "";

    internal uint[] Pixels { get; private set; } = [];

    /// <summary>The encodings of the rectangles that came.</summary>
    internal List<int> Seen { get; } = [];

    internal static RfbTestClient Connect(IPEndPoint place)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 20_000 };
        socket.Connect(place);
        return new RfbTestClient(new NetworkStream(socket, ownsSocket: true));
    }

    public void Dispose()
    {
        _stream.Dispose();
        foreach (Inflater inflater in _streams.Values)
            inflater.Dispose();
    }

    /// <summary>Versions and security; returns the offered types.</summary>
    internal byte[] Greet()
    {
        Assert.Equal("RFB 003.008\n", Encoding.ASCII.GetString(Read(12)));
        Write("RFB 003.008\n"u8);
        return Read(Read(1)[0]);
    }

    /// <summary>VeNCrypt 0.2 to its end (rfbproto, 7.2.20), with the subtype that is offered.</summary>
    /// <param name="fingerprint">The SHA-256 that the server's certificate must have.</param>
    /// <returns>The subtype.</returns>
    internal int Encrypt(string fingerprint)
    {
        Choose(19);
        Assert.Equal([0, 2], Read(2));
        Write([0, 2]);
        Assert.Equal([0, 1], Read(2));
        byte[] subtype = Read(4);
        Write(subtype);
        Assert.Equal([1], Read(1));
        var tls = new SslStream(_stream, leaveInnerStreamOpen: false, (_, certificate, _, _) => certificate!.GetCertHashString(HashAlgorithmName.SHA256) == fingerprint);
        tls.AuthenticateAsClient("localhost");
        Assert.True(tls.IsEncrypted);
        _stream = tls;
        return BinaryPrimitives.ReadInt32BigEndian(subtype);
    }

    /// <summary>True when the server has ended the connection and nothing more comes.</summary>
    internal bool IsEnded()
    {
        try
        {
            return _stream.ReadByte() < 0;
        }
        catch (IOException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
        {
            return true;
        }
    }

    internal void Choose(byte type) => Write([type]);

    internal uint ReadResult() => BinaryPrimitives.ReadUInt32BigEndian(Read(4));

    internal string ReadReason() => Encoding.UTF8.GetString(Read(BinaryPrimitives.ReadInt32BigEndian(Read(4))));

    /// <summary>Goes in without a password.</summary>
    internal void Enter(params int[] encodings)
    {
        Assert.Equal([1], Greet());
        Choose(1);
        Assert.Equal(0u, ReadResult());
        Initialize(encodings);
    }

    internal void Initialize(params int[] encodings)
    {
        Write([1]);
        byte[] init = Read(24);
        Resize(BinaryPrimitives.ReadUInt16BigEndian(init), BinaryPrimitives.ReadUInt16BigEndian(init.AsSpan(2)));
        Name = Encoding.UTF8.GetString(Read(BinaryPrimitives.ReadInt32BigEndian(init.AsSpan(20))));
        byte[] message = new byte[4 + (4 * encodings.Length)];
        message[0] = 2;
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(2), (ushort)encodings.Length);
        for (int i = 0; i < encodings.Length; i++)
            BinaryPrimitives.WriteInt32BigEndian(message.AsSpan(4 + (4 * i)), encodings[i]);
        Write(message);
    }

    internal void Request(bool isIncremental)
    {
        byte[] message = new byte[10];
        (message[0], message[1]) = (3, isIncremental ? (byte)1 : (byte)0);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(6), (ushort)Width);
        BinaryPrimitives.WriteUInt16BigEndian(message.AsSpan(8), (ushort)Height);
        Write(message);
    }

    /// <summary>Asks until the picture is as expected.</summary>
    internal void WaitFor(Func<uint[]> expected)
    {
        for (int i = 0; i < 200; i++)
        {
            if (Pixels.AsSpan().SequenceEqual(expected()))
                return;
            Request(isIncremental: true);
            ReadUpdate();
        }

        Assert.Fail("the picture doesn't become what it should");
    }

    internal void ReadUpdate()
    {
        byte[] head = Read(4);
        Assert.Equal(0, head[0]);
        int count = BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(2));
        for (int i = 0; i < count; i++)
        {
            byte[] rectangle = Read(12);
            int At(int offset) => BinaryPrimitives.ReadUInt16BigEndian(rectangle.AsSpan(offset));
            int encoding = BinaryPrimitives.ReadInt32BigEndian(rectangle.AsSpan(8));
            Seen.Add(encoding);
            ReadRectangle(At(0), At(2), At(4), At(6), encoding);
        }
    }

    internal void Send(byte[] message) => Write(message);

    internal byte[] ReadBytes(int count) => Read(count);

    private void ReadRectangle(int x, int y, int width, int height, int encoding)
    {
        switch (encoding)
        {
            case 0:
                Put(x, y, width, height, new Source(Read));
                break;
            case 1:
                byte[] from = Read(4);
                Copy(BinaryPrimitives.ReadUInt16BigEndian(from), BinaryPrimitives.ReadUInt16BigEndian(from.AsSpan(2)), x, y, width, height);
                break;
            case 5:
                ReadHextile(x, y, width, height);
                break;
            case 6:
                byte[] plain = Inflate(6, Read(BinaryPrimitives.ReadInt32BigEndian(Read(4))));
                Put(x, y, width, height, Source.Of(plain));
                break;
            case 7:
                ReadTight(x, y, width, height);
                break;
            case 16:
                ReadZrle(x, y, width, height, Source.Of(Inflate(16, Read(BinaryPrimitives.ReadInt32BigEndian(Read(4))))));
                break;
            case -223:
                Resize(width, height);
                break;
            case -308:
                int screens = Read(4)[0];
                _ = Read(16 * screens);
                Resize(width, height);
                break;
            case -257 or -258:
                break;
            default:
                Assert.Fail($"encoding {encoding}");
                break;
        }
    }

    private void Resize(int width, int height)
    {
        if ((width, height) == (Width, Height))
            return;
        (Width, Height) = (width, height);
        Pixels = new uint[width * height];
    }

    private void Copy(int fromX, int fromY, int x, int y, int width, int height)
    {
        uint[] old = [.. Pixels];
        for (int row = 0; row < height; row++)
            Array.Copy(old, ((fromY + row) * Width) + fromX, Pixels, ((y + row) * Width) + x, width);
    }

    private void Put(int x, int y, int width, int height, Source source)
    {
        for (int row = 0; row < height; row++)
        {
            for (int column = 0; column < width; column++)
                Pixels[((y + row) * Width) + x + column] = source.Pixel32();
        }
    }

    private void ReadHextile(int x, int y, int width, int height)
    {
        var source = new Source(Read);
        uint background = 0, foreground = 0;
        for (int top = y; top < y + height; top += 16)
        {
            for (int left = x; left < x + width; left += 16)
            {
                int w = Math.Min(16, x + width - left), h = Math.Min(16, y + height - top);
                int kind = source.Byte();
                if ((kind & 1) != 0)
                {
                    Put(left, top, w, h, source);
                    continue;
                }

                if ((kind & 2) != 0)
                    background = source.Pixel32();
                Fill(left, top, w, h, background);
                if ((kind & 4) != 0)
                    foreground = source.Pixel32();
                int count = (kind & 8) != 0 ? source.Byte() : 0;
                for (int i = 0; i < count; i++)
                {
                    uint color = (kind & 16) != 0 ? source.Pixel32() : foreground;
                    int place = source.Byte(), size = source.Byte();
                    Fill(left + (place >> 4), top + (place & 15), (size >> 4) + 1, (size & 15) + 1, color);
                }
            }
        }
    }

    private void ReadZrle(int x, int y, int width, int height, Source source)
    {
        for (int top = y; top < y + height; top += 64)
        {
            for (int left = x; left < x + width; left += 64)
            {
                int w = Math.Min(64, x + width - left), h = Math.Min(64, y + height - top);
                int kind = source.Byte();
                uint[] palette = new uint[kind is > 0 and <= 16 ? kind : kind is >= 130 ? kind - 128 : 0];
                for (int i = 0; i < palette.Length; i++)
                    palette[i] = source.Pixel24();
                int at = 0;
                void Next(uint color)
                {
                    Pixels[((top + (at / w)) * Width) + left + (at % w)] = color;
                    at++;
                }

                if (kind == 1)
                {
                    Fill(left, top, w, h, palette[0]);
                }
                else if (kind == 0)
                {
                    while (at < w * h)
                        Next(source.Pixel24());
                }
                else if (kind <= 16)
                {
                    int bits = kind == 2 ? 1 : kind <= 4 ? 2 : 4;
                    for (int row = 0; row < h; row++)
                    {
                        int held = 0, filled = 0;
                        for (int column = 0; column < w; column++)
                        {
                            if (filled == 0)
                                (held, filled) = (source.Byte(), 8);
                            filled -= bits;
                            Next(palette[(held >> filled) & ((1 << bits) - 1)]);
                        }
                    }
                }
                else
                {
                    Assert.Equal(128, kind);
                    while (at < w * h)
                    {
                        uint color = source.Pixel24();
                        int run = 1, part;
                        do
                        {
                            part = source.Byte();
                            run += part;
                        }
                        while (part == 255);
                        while (run-- > 0)
                            Next(color);
                    }
                }
            }
        }
    }

    private void ReadTight(int x, int y, int width, int height)
    {
        int control = Read(1)[0];
        uint Color() => new Source(Read).Rgb();
        if (control == 0x80)
        {
            Fill(x, y, width, height, Color());
            return;
        }

        uint[]? palette = null;
        if ((control & 0x40) != 0)
        {
            Assert.Equal(1, Read(1)[0]);
            palette = new uint[Read(1)[0] + 1];
            for (int i = 0; i < palette.Length; i++)
                palette[i] = Color();
        }

        int length = palette is null ? width * height * 3 : palette.Length == 2 ? (width + 7) / 8 * height : width * height;
        byte[] data;
        if (length < 12)
        {
            data = Read(length);
        }
        else
        {
            int packed = 0;
            for (int shift = 0; ; shift += 7)
            {
                byte part = Read(1)[0];
                packed |= (shift == 14 ? part : part & 0x7F) << shift;
                if (shift == 14 || (part & 0x80) == 0)
                    break;
            }

            data = Inflate(7, Read(packed));
        }

        Assert.Equal(length, data.Length);
        Source source = Source.Of(data);
        for (int row = 0; row < height; row++)
        {
            for (int column = 0; column < width; column++)
            {
                Pixels[((y + row) * Width) + x + column] = palette is null ? source.Rgb()
                    : palette.Length == 2 ? palette[(data[(row * ((width + 7) / 8)) + (column / 8)] >> (7 - (column & 7))) & 1]
                    : palette[source.Byte()];
            }
        }
    }

    private void Fill(int x, int y, int width, int height, uint color)
    {
        for (int row = y; row < y + height; row++)
            Array.Fill(Pixels, color, (row * Width) + x, width);
    }

    private byte[] Inflate(int stream, byte[] packed)
    {
        if (!_streams.TryGetValue(stream, out Inflater? inflater))
            _streams[stream] = inflater = new Inflater();
        return inflater.Unpack(packed);
    }

    private byte[] Read(int count)
    {
        byte[] bytes = new byte[count];
        _stream.ReadExactly(bytes);
        return bytes;
    }

    private void Write(ReadOnlySpan<byte> bytes) => _stream.Write(bytes);

    /// <summary>A zlib stream that goes on.</summary>
    private sealed class Inflater : IDisposable
    {
        private readonly MemoryStream _packed = new();
        private readonly ZLibStream _zlib;

        internal Inflater() => _zlib = new ZLibStream(_packed, CompressionMode.Decompress);

        public void Dispose() => _zlib.Dispose();

        internal byte[] Unpack(byte[] packed)
        {
            _packed.SetLength(0);
            _packed.Write(packed);
            _packed.Position = 0;
            var plain = new MemoryStream();
            byte[] buffer = new byte[65536];
            int count;
            // Input ends at a flush: then nothing more comes out of it.
            while ((count = _zlib.Read(buffer)) != 0)
                plain.Write(buffer, 0, count);
            return plain.ToArray();
        }
    }

    private sealed class Source(Func<int, byte[]> read)
    {
        internal static Source Of(byte[] bytes)
        {
            int at = 0;
            return new Source(count =>
            {
                byte[] part = bytes[at..(at + count)];
                at += count;
                return part;
            });
        }

        internal int Byte() => read(1)[0];

        internal uint Pixel32() => BinaryPrimitives.ReadUInt32LittleEndian(read(4));

        internal uint Pixel24()
        {
            byte[] bytes = read(3);
            return bytes[0] | ((uint)bytes[1] << 8) | ((uint)bytes[2] << 16);
        }

        internal uint Rgb()
        {
            byte[] bytes = read(3);
            return ((uint)bytes[0] << 16) | ((uint)bytes[1] << 8) | bytes[2];
        }
    }
}
