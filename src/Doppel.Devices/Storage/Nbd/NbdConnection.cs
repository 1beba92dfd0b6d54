using System.Buffers.Binary;
using System.Net.Sockets;
using Doppel.Devices.Storage.Images;

namespace Doppel.Devices.Storage.Nbd;

/// <summary>
/// Requests and replies of an NBD connection (doc/proto.md, "Transmission"). Any thread requests and waits; one thread
/// receives. When the connection fails, so does every request, at once and from then on.
/// </summary>
internal sealed class NbdConnection : IDisposable
{
    internal const ushort ReadCommand = 0;
    internal const ushort WriteCommand = 1;
    internal const ushort DisconnectCommand = 2;
    internal const ushort FlushCommand = 3;
    internal const ushort WriteZeroesCommand = 6;
    internal const ushort NoHole = 2;
    private const uint RequestMagic = 0x25609513;
    private const uint ReplyMagic = 0x67446698;
    private const uint NoSpace = 28;
    private readonly string _name;
    private readonly Socket _socket;
    private readonly Lock _sendLock = new();
    private readonly object _lock = new();
    private readonly Dictionary<ulong, Request> _pending = [];
    private readonly Thread _receiver;
    private ulong _next;
    private Exception? _failure;

    internal NbdConnection(string name, Socket socket)
    {
        _name = name;
        _socket = socket;
        _receiver = new Thread(ReceiveReplies) { IsBackground = true, Name = "nbd" };
        _receiver.Start();
    }

    /// <summary>Sends a request and waits for its reply.</summary>
    /// <param name="command">What is asked.</param>
    /// <param name="flags">Command flags.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes.</param>
    /// <param name="buffers">What is read into or written from; its length is the number of bytes then.</param>
    /// <exception cref="StorageFullException">The server has no room.</exception>
    /// <exception cref="IOException">The server refuses, or the connection has failed.</exception>
    internal void Execute(ushort command, ushort flags, ulong offset, uint length, BufferList buffers)
    {
        var request = new Request(command == ReadCommand ? buffers : default);
        ulong handle;
        lock (_lock)
        {
            if (_failure is not null)
                throw Lost(_failure);
            handle = _next++;
            _pending.Add(handle, request);
        }

        try
        {
            SendRequest(command, flags, handle, offset, length, buffers);
        }
        catch (SocketException e)
        {
            Fail(e);
        }

        uint error = request.Wait();
        if (error == Request.ConnectionLost)
            throw Lost(_failure);
        if (error == NoSpace)
            throw new StorageFullException($"{_name}: the server has no room for {length} bytes at {offset}");
        if (error != 0)
            throw new IOException($"{_name}: the server refuses command {command} for {length} bytes at {offset} (error {error})");
    }

    /// <summary>Says good-bye and ends.</summary>
    public void Dispose()
    {
        try
        {
            SendRequest(DisconnectCommand, 0, 0, 0, 0, default);
            _socket.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // Gone already.
        }

        _receiver.Join();
        _socket.Dispose();
    }

    internal static void Send(Socket socket, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[socket.Send(bytes)..];
    }

    internal static void Receive(Socket socket, Span<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int received = socket.Receive(bytes);
            if (received == 0)
                throw new SocketException((int)SocketError.ConnectionReset);
            bytes = bytes[received..];
        }
    }

    private void SendRequest(ushort command, ushort flags, ulong handle, ulong offset, uint length, BufferList buffers)
    {
        Span<byte> header = stackalloc byte[28];
        BinaryPrimitives.WriteUInt32BigEndian(header, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], flags);
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], command);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], handle);
        BinaryPrimitives.WriteUInt64BigEndian(header[16..], offset);
        BinaryPrimitives.WriteUInt32BigEndian(header[24..], length);
        lock (_sendLock)
        {
            Send(_socket, header);
            if (command != WriteCommand)
                return;
            foreach (Memory<byte> segment in buffers.Segments)
                Send(_socket, segment.Span);
        }
    }

    private void ReceiveReplies()
    {
        try
        {
            Span<byte> header = stackalloc byte[16];
            while (true)
            {
                Receive(_socket, header);
                if (BinaryPrimitives.ReadUInt32BigEndian(header) != ReplyMagic)
                    throw new IOException("the server's reply is not of the NBD protocol");
                uint error = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
                Request? request;
                lock (_lock)
                {
                    if (!_pending.Remove(BinaryPrimitives.ReadUInt64BigEndian(header[8..]), out request))
                        throw new IOException("the server replies to what nobody asked");
                }

                try
                {
                    if (error == 0)
                        request.Fill(_socket);
                    request.Complete(error);
                }
                catch
                {
                    request.Complete(Request.ConnectionLost);
                    throw;
                }
            }
        }
        catch (Exception e) when (e is SocketException or IOException or ObjectDisposedException)
        {
            Fail(e);
        }
    }

    private void Fail(Exception failure)
    {
        lock (_lock)
        {
            _failure ??= failure;
            foreach (Request request in _pending.Values)
                request.Complete(Request.ConnectionLost);
            _pending.Clear();
        }
    }

    private IOException Lost(Exception? cause) => new($"{_name}: the connection to the server is lost ({cause?.Message})", cause);

    private sealed class Request(BufferList buffers)
    {
        internal const uint ConnectionLost = uint.MaxValue;
        private readonly object _lock = new();
        private uint _error;
        private bool _isDone;

        internal void Fill(Socket socket)
        {
            foreach (Memory<byte> segment in buffers.Segments)
                Receive(socket, segment.Span);
        }

        internal void Complete(uint error)
        {
            lock (_lock)
            {
                if (!_isDone)
                    _error = error;
                _isDone = true;
                Monitor.PulseAll(_lock);
            }
        }

        internal uint Wait()
        {
            lock (_lock)
            {
                while (!_isDone)
                    _ = Monitor.Wait(_lock);
                return _error;
            }
        }
    }
}
