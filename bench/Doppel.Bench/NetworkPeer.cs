using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Doppel.Bench;

/// <summary>What the network rows talk to: takes bytes, gives bytes, gives bytes back (programs/network.c says how it is asked).</summary>
internal sealed class NetworkPeer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    /// <summary>Starts to listen on a free port of the loopback.</summary>
    public NetworkPeer()
    {
        _listener.Start();
        _ = AcceptAsync();
    }

    /// <summary>The port.</summary>
    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <inheritdoc/>
    public void Dispose() => _listener.Dispose();

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                Socket socket = await _listener.AcceptSocketAsync();
                new Thread(() => Serve(socket)) { IsBackground = true, Name = "bench-net" }.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The run has ended.
        }
    }

    private static void Serve(Socket socket)
    {
        using (socket)
        {
            try
            {
                socket.NoDelay = true;
                byte[] block = new byte[256 << 10];
                Fill(socket, block.AsSpan(0, 9));
                long left = BinaryPrimitives.ReadInt64LittleEndian(block.AsSpan(1));
                switch (block[0])
                {
                    case (byte)'s':
                        while (left > 0 && socket.Receive(block) is int count and > 0)
                        {
                            left -= count;
                        }

                        _ = socket.Send(block.AsSpan(0, 1));
                        break;
                    case (byte)'r':
                        for (; left > 0; left -= block.Length)
                        {
                            _ = socket.Send(block.AsSpan(0, (int)Math.Min(left, block.Length)));
                        }

                        break;
                    default:
                        for (; left > 0; left--)
                        {
                            Fill(socket, block.AsSpan(0, 1));
                            _ = socket.Send(block.AsSpan(0, 1));
                        }

                        break;
                }

                socket.Shutdown(SocketShutdown.Both);
            }
            catch (SocketException)
            {
                // The guest has gone; its row says so.
            }
        }
    }

    private static void Fill(Socket socket, Span<byte> bytes)
    {
        while (!bytes.IsEmpty && socket.Receive(bytes) is int count and > 0)
        {
            bytes = bytes[count..];
        }
    }
}
