using System.Net.Sockets;
using System.Text;

namespace Doppel.Devices.Vsock;

/// <summary>
/// A connection between a port of the guest and a Unix socket of the host. Two tasks move the bytes: one reads from the
/// host's socket as much as the guest has room for, one writes what the guest has sent. The machine's I/O lock guards the
/// rest. Each side tells the other how much room it has and how much it has passed on (virtio 1.2, 5.10.6.3), so neither has
/// to keep more than it has said it would.
/// </summary>
internal sealed class VsockConnection : IDisposable
{
    /// <summary>Bytes that are kept for the host's socket.</summary>
    internal const uint BufferSize = 256 << 10;

    private const int Piece = 64 << 10;
    private readonly IVsockLink _link;
    private readonly Lock _ioLock;
    private readonly Queue<byte[]> _toHost = new();
    private readonly CancellationTokenSource _stop = new();
    private Socket? _socket;
    private TaskCompletionSource? _hostWait;
    private TaskCompletionSource? _guestWait;
    private ReadOnlyMemory<byte> _toGuest;
    private uint _received;
    private uint _forwarded;
    private uint _forwardedTold;
    private uint _guestBuffer;
    private uint _guestForwarded;
    private uint _sent;
    private int _greeting;
    private bool _guestSendsNoMore;
    private bool _guestReceivesNoMore;
    private bool _isOver;

    /// <param name="guestPort">The guest's port.</param>
    /// <param name="hostPort">The host's port.</param>
    /// <param name="socket">The host's socket, when the host has begun; null when the guest has.</param>
    /// <param name="link">The device.</param>
    /// <param name="ioLock">The machine's I/O lock.</param>
    internal VsockConnection(uint guestPort, uint hostPort, Socket? socket, IVsockLink link, Lock ioLock)
    {
        GuestPort = guestPort;
        HostPort = hostPort;
        _socket = socket;
        _link = link;
        _ioLock = ioLock;
    }

    internal uint GuestPort { get; }

    internal uint HostPort { get; }

    /// <summary>True once both ends have agreed.</summary>
    internal bool IsOpen { get; private set; }

    /// <summary>True when there is something for the guest that it has room for.</summary>
    internal bool HasData => IsOpen && !_toGuest.IsEmpty && Credit != 0;

    /// <summary>Bytes passed on to the host's socket.</summary>
    internal uint Forwarded => _forwarded;

    // What the guest claims may be nonsense: then there is no room.
    private uint Credit
    {
        get
        {
            uint under = _sent - _guestForwarded;
            return under < _guestBuffer ? _guestBuffer - under : 0;
        }
    }

    /// <summary>The guest has asked for this connection: finds out whether the host has somebody there.</summary>
    internal async Task ConnectAsync(string path)
    {
        Socket? socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), _stop.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ArgumentException)
        {
            socket.Dispose();
            socket = null;
        }

        lock (_ioLock)
        {
            if (_isOver)
            {
                socket?.Dispose();
                return;
            }

            _socket = socket;
            if (socket is null)
            {
                End(VsockPacket.Reset);
                return;
            }

            _link.Send(this, VsockPacket.Response);
            Open();
        }
    }

    /// <summary>The guest has accepted a connection that the host asked for.</summary>
    internal void Accept()
    {
        if (IsOpen)
            return;
        // The convention of Firecracker, which cloud-hypervisor has too: what the host's program reads first is the port that it got.
        _toHost.Enqueue(Encoding.ASCII.GetBytes($"OK {HostPort}\n"));
        _greeting = _toHost.Peek().Length;
        Open();
    }

    /// <summary>Notes how much room the guest says it has.</summary>
    internal void NoteCredit(in VsockPacket packet)
    {
        _guestBuffer = packet.BufferSize;
        _guestForwarded = packet.Forwarded;
        if (Credit != 0)
            Wake(ref _guestWait);
        if (HasData)
            _link.Ready(this);
    }

    /// <summary>Takes what the guest has sent.</summary>
    /// <returns>False when it sends more than it was told there is room for.</returns>
    internal bool Receive(byte[] data)
    {
        if (!IsOpen || _guestSendsNoMore || _received - _forwarded + (uint)data.Length > BufferSize)
            return false;
        _received += (uint)data.Length;
        if (data.Length != 0)
            _toHost.Enqueue(data);
        Wake(ref _hostWait);
        return true;
    }

    /// <summary>The guest sends, or receives, no more.</summary>
    internal void Shutdown(uint flags)
    {
        _guestSendsNoMore |= (flags & VsockPacket.NoMoreSent) != 0;
        _guestReceivesNoMore |= (flags & VsockPacket.NoMoreReceived) != 0;
        Wake(ref _hostWait);
        Wake(ref _guestWait);
        if (!IsOpen)
            End(VsockPacket.Reset);
    }

    /// <summary>Takes bytes for a packet to the guest.</summary>
    internal ReadOnlyMemory<byte> TakeData(int room)
    {
        int count = (int)Math.Min((uint)Math.Min(room, _toGuest.Length), Credit);
        ReadOnlyMemory<byte> data = _toGuest[..count];
        _toGuest = _toGuest[count..];
        _sent += (uint)count;
        if (_toGuest.IsEmpty)
            Wake(ref _guestWait);
        return data;
    }

    /// <summary>Notes that the guest is being told how much has been passed on.</summary>
    internal void NoteTold() => _forwardedTold = _forwarded;

    /// <summary>Ends the connection.</summary>
    /// <param name="operation">What the guest is told; zero for nothing.</param>
    internal void End(ushort operation = 0)
    {
        if (_isOver)
            return;
        _isOver = true;
        IsOpen = false;
        _toGuest = default;
        _stop.Cancel();
        Wake(ref _hostWait);
        Wake(ref _guestWait);
        _socket?.Dispose();
        if (operation != 0)
            _link.Send(this, operation);
        _link.Remove(this);
    }

    public void Dispose()
    {
        End();
        _stop.Dispose();
    }

    private static void Wake(ref TaskCompletionSource? waiting)
    {
        waiting?.SetResult();
        waiting = null;
    }

    private static Task Wait(ref TaskCompletionSource? waiting)
    {
        waiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return waiting.Task;
    }

    private void Open()
    {
        IsOpen = true;
        _ = ReadHostAsync(_socket!, _stop.Token);
        _ = WriteHostAsync(_socket!, _stop.Token);
    }

    private async Task ReadHostAsync(Socket socket, CancellationToken stop)
    {
        byte[] buffer = new byte[Piece];
        try
        {
            while (true)
            {
                Task? wait = null;
                int room = 0;
                lock (_ioLock)
                {
                    if (_isOver || _guestReceivesNoMore)
                        return;
                    if (!_toGuest.IsEmpty || Credit == 0)
                        wait = Wait(ref _guestWait);
                    else
                        room = (int)Math.Min(Credit, Piece);
                }

                if (wait is not null)
                {
                    await wait.ConfigureAwait(false);
                    continue;
                }

                int count = await socket.ReceiveAsync(buffer.AsMemory(0, room), stop).ConfigureAwait(false);
                lock (_ioLock)
                {
                    if (_isOver)
                        return;
                    if (count == 0)
                    {
                        _link.Send(this, VsockPacket.Shutdown, VsockPacket.NoMoreSent);
                        return;
                    }

                    _toGuest = buffer.AsMemory(0, count);
                    if (HasData)
                        _link.Ready(this);
                }
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            lock (_ioLock)
                End(VsockPacket.Reset);
        }
    }

    private async Task WriteHostAsync(Socket socket, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                Task? wait = null;
                byte[]? data = null;
                lock (_ioLock)
                {
                    if (_isOver)
                        return;
                    if (!_toHost.TryDequeue(out data))
                    {
                        if (_guestSendsNoMore)
                        {
                            socket.Shutdown(SocketShutdown.Send);
                            // A guest that has closed its end waits for this.
                            if (_guestReceivesNoMore)
                                End(VsockPacket.Reset);
                            else
                                wait = Wait(ref _hostWait);
                        }
                        else
                        {
                            wait = Wait(ref _hostWait);
                        }
                    }
                }

                if (wait is not null)
                {
                    await wait.ConfigureAwait(false);
                    continue;
                }

                if (data is null)
                    return;
                for (int done = 0; done < data.Length;)
                    done += await socket.SendAsync(data.AsMemory(done), stop).ConfigureAwait(false);
                lock (_ioLock)
                    NoteForwarded(data.Length);
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            lock (_ioLock)
                End(VsockPacket.Reset);
        }
    }

    private void NoteForwarded(int length)
    {
        // The greeting is ours, not the guest's.
        int greeting = Math.Min(_greeting, length);
        _greeting -= greeting;
        _forwarded += (uint)(length - greeting);
        if (!_isOver && _forwarded - _forwardedTold >= BufferSize / 4)
            _link.Send(this, VsockPacket.CreditUpdate);
    }
}
