using System.Net.Sockets;

namespace Doppel.Vmm.Control;

/// <summary>A control socket on which nobody answers yet. Not thread-safe.</summary>
public sealed class ControlSocket : IDisposable
{
    private readonly Socket _listener;
    private bool _isTaken;

    internal ControlSocket(Socket listener, string path)
    {
        _listener = listener;
        Path = path;
    }

    /// <summary>Its path.</summary>
    public string Path { get; }

    /// <summary>Removes it, unless a server has it.</summary>
    public void Dispose()
    {
        if (_isTaken)
            return;
        File.Delete(Path);
        _listener.Dispose();
    }

    internal (Socket Listener, string Path) Take()
    {
        _isTaken = true;
        return (_listener, Path);
    }
}
