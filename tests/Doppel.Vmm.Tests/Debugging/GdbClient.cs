using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Doppel.Vmm.Debugging;

namespace Doppel.Vmm.Tests.Debugging;

/// <summary>A debugger for tests: sends packets, acknowledges replies, and gives up after a minute.</summary>
internal sealed class GdbClient : IDisposable
{
    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly GdbParser _parser = new();
    private readonly Queue<byte> _received = new();
    private readonly CancellationTokenSource _limit = new(TimeSpan.FromMinutes(1));
    private readonly GdbRegisters _registers;

    internal GdbClient(EndPoint address, bool hasAvx)
    {
        _registers = new GdbRegisters(hasAvx);
        _socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Unspecified);
        _socket.Connect(address);
        _stream = new NetworkStream(_socket);
    }

    internal async Task<string> AskAsync(string packet)
    {
        await SendAsync(GdbPacket.Encode(packet));
        return await ReplyAsync();
    }

    internal async Task SendAsync(byte[] bytes) => await _stream.WriteAsync(bytes, _limit.Token);

    internal async Task<string> ReplyAsync()
    {
        while (await NextAsync() is { } input)
        {
            if (input.Kind == GdbInputKind.Packet)
                return input.Payload;
        }

        throw new EndOfStreamException("the server has closed the connection");
    }

    /// <summary>The next thing from the server; null at the end of the connection.</summary>
    internal async Task<GdbInput?> NextAsync()
    {
        while (true)
        {
            while (_received.TryDequeue(out byte b))
            {
                if (_parser.Feed(b) is { } input)
                    return input;
            }

            byte[] buffer = new byte[4096];
            int count = await _stream.ReadAsync(buffer, _limit.Token);
            if (count == 0)
                return null;
            foreach (byte b in buffer.AsSpan(0, count))
                _received.Enqueue(b);
        }
    }

    internal async Task<ulong> RegisterAsync(string name)
    {
        byte[] value = Convert.FromHexString(await AskAsync($"p{_registers.NumberOf(name):x}"));
        Array.Resize(ref value, 8);
        return BitConverter.ToUInt64(value);
    }

    internal Task<string> SetRegisterAsync(string name, string littleEndianHex) => AskAsync($"P{_registers.NumberOf(name):x}={littleEndianHex}");

    internal Task<string> SetRegisterAsync(string name, ulong value) => SetRegisterAsync(name, Hex(value));

    internal static string Hex(ulong value) => GdbPacket.ToHex(BitConverter.GetBytes(value));

    internal static string Number(ulong value) => value.ToString("x", CultureInfo.InvariantCulture);

    public void Dispose()
    {
        _stream.Dispose();
        _socket.Dispose();
        _limit.Dispose();
    }
}
