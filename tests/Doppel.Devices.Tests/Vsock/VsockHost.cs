using System.Net.Sockets;
using Doppel.Devices.Vsock;

namespace Doppel.Devices.Tests.Vsock;

/// <summary>The host's side of vsock: a directory of sockets, with a program at one port that sends back what it gets. Sockets go when the process does.</summary>
public sealed class VsockHost
{
    public const uint EchoPort = 7;
    private static readonly string All = Directory.CreateTempSubdirectory("doppel-vsock-").FullName;
    private static int s_count;

    static VsockHost() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(All, recursive: true);

    /// <summary>Path of the last listener.</summary>
    public string Path { get; private set; } = "";

    public VsockListener Listen()
    {
        Path = System.IO.Path.Combine(All, $"v{Interlocked.Increment(ref s_count)}");
        _ = EchoAsync(ListenAt(EchoPort));
        return new VsockListener(Path);
    }

    /// <summary>Listens at a port of the host.</summary>
    public Socket ListenAt(uint port)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint($"{Path}_{port}"));
        socket.Listen(16);
        return socket;
    }

    /// <summary>Connects as a program of the host does.</summary>
    public async Task<Socket> ConnectAsync(string line)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path));
        _ = await socket.SendAsync(System.Text.Encoding.ASCII.GetBytes(line));
        return socket;
    }

    private static async Task EchoAsync(Socket listener)
    {
        while (true)
            _ = AnswerAsync(await listener.AcceptAsync());
    }

    private static async Task AnswerAsync(Socket socket)
    {
        byte[] buffer = new byte[4096];
        try
        {
            while (await socket.ReceiveAsync(buffer) is > 0 and int count)
                _ = await socket.SendAsync(buffer.AsMemory(0, count));
        }
        catch (SocketException)
        {
            // The guest is gone.
        }

        socket.Dispose();
    }
}
