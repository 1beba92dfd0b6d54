using System.Net.Sockets;
using System.Text;
using Doppel.Devices.Tests.Virtio;
using Doppel.Devices.Virtio;
using Doppel.Devices.Vsock;

namespace Doppel.Devices.Tests.Vsock;

/// <summary>Connections between programs of the host and of a guest, packet by packet.</summary>
public sealed class VsockTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);
    private readonly VsockHost _host = new();
    private readonly VirtioSubject _subject;
    private readonly VsockDriver _guest;

    public VsockTests()
    {
        _subject = VirtioSubject.Make("vsock", "msix", "split", _host);
        _subject.Driver.Start();
        _guest = new VsockDriver(_subject.Driver);
    }

    private VirtioVsock Device => (VirtioVsock)_subject.Device;

    public void Dispose() => _subject.Dispose();

    [Fact]
    public async Task A_program_of_the_host_reaches_a_port_of_the_guest()
    {
        Assert.Equal(VsockDriver.Cid, _subject.Access.ReadConfig(0, 4));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_host.Path));
        using Socket program = await _host.ConnectAsync("CONNECT 5000\nearly");
        VsockMessage request = await _guest.ReceiveAsync(VsockDriver.Request);
        Assert.Equal(5000u, request.GuestPort);
        await _guest.SendAsync(VsockDriver.Response, 5000, request.HostPort);
        Assert.Equal($"OK {request.HostPort}\n", await ReadAsync(program, $"OK {request.HostPort}\n".Length));
        Assert.Equal("early", Encoding.ASCII.GetString((await _guest.ReceiveAsync(VsockDriver.Data)).Data));
        await _guest.SendAsync(VsockDriver.Data, 5000, request.HostPort, "answer"u8.ToArray());
        Assert.Equal("answer", await ReadAsync(program, 6));

        // Each end says when it sends no more; the other may go on.
        program.Shutdown(SocketShutdown.Send);
        Assert.Equal(2u, (await _guest.ReceiveAsync(VsockDriver.Shutdown)).Flags);
        await _guest.SendAsync(VsockDriver.Data, 5000, request.HostPort, "more"u8.ToArray());
        Assert.Equal("more", await ReadAsync(program, 4));
        await _guest.SendAsync(VsockDriver.Shutdown, 5000, request.HostPort, flags: 3);
        _ = await _guest.ReceiveAsync(VsockDriver.Reset);
        Assert.Equal(0, await program.ReceiveAsync(new byte[1]));
        Assert.Equal(0, Device.ConnectionCount);
    }

    [Theory]
    [InlineData("CONNECT\n")]
    [InlineData("CONNECT -1\n")]
    [InlineData("CONNECT 99999999999\n")]
    [InlineData("HELLO 1\n")]
    [InlineData("a line that never comes to its end and is too long for a port")]
    public async Task A_program_that_asks_for_nothing_is_sent_away(string line)
    {
        using Socket program = await _host.ConnectAsync(line);
        int count;
        try
        {
            count = await program.ReceiveAsync(new byte[1]);
        }
        catch (SocketException)
        {
            count = 0;
        }

        Assert.Equal(0, count);
        Assert.Equal(0, Device.ConnectionCount);
    }

    [Fact]
    public async Task A_refusal_and_a_reset_end_what_the_host_began()
    {
        using Socket refused = await _host.ConnectAsync("CONNECT 1\n");
        VsockMessage request = await _guest.ReceiveAsync(VsockDriver.Request);
        await _guest.SendAsync(VsockDriver.Reset, 1, request.HostPort);
        Assert.Equal(0, await refused.ReceiveAsync(new byte[1]));
        using Socket cut = await _host.ConnectAsync("CONNECT 1\n");
        request = await _guest.ReceiveAsync(VsockDriver.Request);
        await _guest.SendAsync(VsockDriver.Response, 1, request.HostPort);
        _ = await ReadAsync(cut, 14);
        _subject.Access.Status = 0;
        Assert.Equal(0, await cut.ReceiveAsync(new byte[1]));
        using Socket early = await _host.ConnectAsync("CONNECT 1\n");
        Assert.Equal(0, await early.ReceiveAsync(new byte[1]));
    }

    [Fact]
    public async Task The_host_never_sends_more_than_the_guest_has_room_for()
    {
        _guest.BufferSize = 10_000;
        using Socket listener = _host.ListenAt(99);
        await _guest.SendAsync(VsockDriver.Request, 4, 99);
        using Socket program = await listener.AcceptAsync();
        _ = await _guest.ReceiveAsync(VsockDriver.Response);
        byte[] content = new byte[300_000];
        new Random(1).NextBytes(content);
        Task sending = Task.Run(async () =>
        {
            for (int done = 0; done < content.Length;)
                done += await program.SendAsync(content.AsMemory(done));
        });
        var received = new List<byte>();
        while (received.Count < content.Length)
        {
            while (received.Count < Math.Min(_guest.Forwarded + _guest.BufferSize, content.Length))
                received.AddRange((await _guest.ReceiveAsync(VsockDriver.Data)).Data);
            Assert.True(received.Count <= _guest.Forwarded + _guest.BufferSize);
            _guest.Forwarded = (uint)received.Count;
            await _guest.SendAsync(VsockDriver.CreditUpdate, 4, 99);
        }

        await sending;
        Assert.Equal(content, received);
    }

    [Fact]
    public async Task A_guest_that_sends_more_than_there_is_room_for_loses_the_connection()
    {
        using Socket listener = _host.ListenAt(99);
        await _guest.SendAsync(VsockDriver.Request, 4, 99);
        using Socket program = await listener.AcceptAsync();
        uint room = (await _guest.ReceiveAsync(VsockDriver.Response)).BufferSize;
        byte[] piece = new byte[60_000];
        // The host's program doesn't read: its socket takes some, and the device no more than it said.
        for (int i = 0; i < 40 && Device.ConnectionCount != 0; i++)
            await _guest.SendAsync(VsockDriver.Data, 4, 99, piece);
        Assert.Equal(0, Device.ConnectionCount);
        Assert.True(room >= 1 << 16);
    }

    [Fact]
    public async Task What_a_guest_sends_arrives_whole_and_it_is_told_of_the_room_again()
    {
        using Socket listener = _host.ListenAt(99);
        await _guest.SendAsync(VsockDriver.Request, 4, 99);
        using Socket program = await listener.AcceptAsync();
        uint room = (await _guest.ReceiveAsync(VsockDriver.Response)).BufferSize, told = 0, sent = 0;
        byte[] piece = new byte[50_000];
        Task<int> reading = Task.Run(async () =>
        {
            byte[] buffer = new byte[100_000];
            int total = 0;
            while (total < 2_000_000)
                total += await program.ReceiveAsync(buffer);
            return total;
        });
        while (sent < 2_000_000)
        {
            while (sent - told + (uint)piece.Length > room)
                told = (await _guest.ReceiveAsync(VsockDriver.CreditUpdate)).Forwarded;
            await _guest.SendAsync(VsockDriver.Data, 4, 99, piece);
            sent += (uint)piece.Length;
        }

        Assert.Equal(2_000_000, await reading.WaitAsync(Patience));
        Assert.Equal(1, Device.ConnectionCount);
    }

    [Fact]
    public async Task What_can_not_be_is_refused()
    {
        await _guest.SendAsync(VsockDriver.Request, 4, 12345);
        _ = await _guest.ReceiveAsync(VsockDriver.Reset);
        await _guest.SendAsync(VsockDriver.Data, 4, 7, [1]);
        _ = await _guest.ReceiveAsync(VsockDriver.Reset);
        await _guest.SendAsync(VsockDriver.Request, 4, 7, type: 9);
        _ = await _guest.ReceiveAsync(VsockDriver.Reset);
        await _guest.SendAsync(VsockDriver.Request, 4, 7, to: 9);
        await _guest.SendAsync(VsockDriver.Request, 4, 7);
        _ = await _guest.ReceiveAsync(VsockDriver.Response);
        await _guest.SendAsync(VsockDriver.CreditRequest, 4, 7);
        _ = await _guest.ReceiveAsync(VsockDriver.CreditUpdate);
        await _guest.SendAsync(VsockDriver.Data, 4, 7, [1, 2], length: 3);
        _ = await _guest.ReceiveAsync(VsockDriver.Reset);
        Assert.Equal(0, Device.ConnectionCount);
        Assert.Throws<IOException>(() => new VsockListener(_host.Path));
        Assert.Throws<IOException>(() => new VsockListener("/no/such/directory/v"));
    }

    [Fact]
    public async Task After_a_restore_the_guest_is_told_that_its_connections_are_gone()
    {
        await _guest.SendAsync(VsockDriver.Request, 4, VsockHost.EchoPort);
        _ = await _guest.ReceiveAsync(VsockDriver.Response);
        await _subject.Device.HoldAsync();
        byte[] saved = _subject.Access.Save();
        using VirtioSubject copy = VirtioSubject.Make("vsock", "msix", "split", _host);
        byte[] memory = new byte[VirtioSubject.RamSize];
        Assert.True(_subject.Memory.TryRead(0, memory));
        Assert.True(copy.Memory.TryWrite(0, memory));
        copy.Access.Restore(saved);
        copy.Device.Release();
        copy.Driver.Continue(_subject.Driver);
        ulong into = copy.Driver.Allocate([9, 9, 9, 9]);
        Assert.Equal(4u, await copy.Driver.DoAsync(2, [new DriverBuffer(into, 4, IsWritable: true)]));
        Assert.Equal([0, 0, 0, 0], copy.Driver.Bytes(into, 4));
        var guest = new VsockDriver(copy.Driver);
        await guest.SendAsync(VsockDriver.Data, 4, VsockHost.EchoPort, [1]);
        _ = await guest.ReceiveAsync(VsockDriver.Reset);
    }

    private static async Task<string> ReadAsync(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        for (int done = 0; done < length;)
        {
            int count = await socket.ReceiveAsync(bytes.AsMemory(done));
            Assert.NotEqual(0, count);
            done += count;
        }

        return Encoding.ASCII.GetString(bytes);
    }
}
