using System.Net.Sockets;

namespace Doppel.Devices.Network;

/// <summary>A connection to another member of a switch. The back end's thread only.</summary>
internal sealed class SwitchMember : IDisposable
{
    private readonly Socket _socket;

    internal SwitchMember(Socket socket, string? name, int sendBuffer)
    {
        _socket = socket;
        _socket.Blocking = false;
        // The kernel gives less where its limit is lower.
        _socket.SendBufferSize = sendBuffer;
        Descriptor = (int)socket.Handle;
        Name = name;
    }

    internal int Descriptor { get; }

    /// <summary>The file name of its socket; null until it has said it.</summary>
    internal string? Name { get; set; }

    /// <summary>True for the one of several connections to the same member on which is sent.</summary>
    internal bool IsPrimary { get; set; }

    /// <summary>True while it has taken nothing for too long.</summary>
    internal bool IsStuck { get; set; }

    /// <summary>True when the connection has ended.</summary>
    internal bool IsGone { get; private set; }

    /// <summary>Its place in the list that is waited for.</summary>
    internal int Index { get; set; }

    /// <summary>Sends a message whole, or not at all.</summary>
    internal bool TrySend(ReadOnlySpan<byte> message)
    {
        if (IsGone)
            return false;
        int count = _socket.Send(message, SocketFlags.None, out SocketError error);
        IsGone = error is not (SocketError.Success or SocketError.WouldBlock or SocketError.NoBufferSpaceAvailable or SocketError.MessageSize);
        return error == SocketError.Success && count == message.Length;
    }

    /// <summary>Receives a message.</summary>
    /// <returns>Its length; -1 when there is none, 0 when the connection has ended.</returns>
    internal int Receive(Span<byte> buffer)
    {
        if (IsGone)
            return 0;
        int count = _socket.Receive(buffer, SocketFlags.None, out SocketError error);
        return error switch
        {
            SocketError.Success => count,
            SocketError.WouldBlock => -1,
            _ => 0,
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        IsGone = true;
        _socket.Dispose();
    }
}
