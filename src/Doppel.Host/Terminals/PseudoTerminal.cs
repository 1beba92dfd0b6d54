using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Terminals;

/// <summary>A pseudo-terminal (pts(4)): a program opens its path, and the stream is the other end.</summary>
public sealed unsafe class PseudoTerminal : IDisposable
{
    private readonly SafeFileHandle _slave;

    /// <summary>Creates one in raw mode.</summary>
    /// <exception cref="HostException">The host refuses.</exception>
    public PseudoTerminal()
    {
        const int Flags = TerminalCalls.ReadWrite | TerminalCalls.NoControllingTerminal | TerminalCalls.CloseOnExec;
        int master = (int)HostError.Check(TerminalCalls.OpenPseudoTerminal(Flags), "posix_openpt", "of a new terminal");
        var handle = new SafeFileHandle(master, ownsHandle: true);
        try
        {
            _ = HostError.Check(TerminalCalls.Grant(master), "grantpt", "of a new terminal");
            _ = HostError.Check(TerminalCalls.Unlock(master), "unlockpt", "of a new terminal");
            byte* name = stackalloc byte[128];
            int error = TerminalCalls.GetSlaveName(master, name, 128);
            if (error != 0)
                throw new HostException("ptsname_r", error, "of a new terminal");
            Path = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
            // Kept open: reading the other end fails with EIO whenever nobody has this one open.
            _slave = new SafeFileHandle((int)HostError.Check(TerminalCalls.Open(Path, Flags), "open", Path), ownsHandle: true);
            Termios attributes;
            _ = HostError.Check(TerminalCalls.GetAttributes(master, &attributes), "tcgetattr", Path);
            TerminalCalls.MakeRaw(&attributes);
            _ = HostError.Check(TerminalCalls.SetAttributes(master, TerminalCalls.SetNow, &attributes), "tcsetattr", Path);
            Stream = new FileStream(handle, FileAccess.ReadWrite, bufferSize: 0);
        }
        catch
        {
            handle.Dispose();
            _slave?.Dispose();
            throw;
        }
    }

    /// <summary>What a program opens, for example "/dev/pts/3".</summary>
    public string Path { get; }

    /// <summary>The other end: what the program writes can be read, and what is written it reads.</summary>
    public Stream Stream { get; }

    /// <summary>Descriptor of the other end, for its size.</summary>
    public int Descriptor => (int)((FileStream)Stream).SafeFileHandle.DangerousGetHandle();

    /// <inheritdoc/>
    public void Dispose()
    {
        Stream.Dispose();
        _slave.Dispose();
    }
}
