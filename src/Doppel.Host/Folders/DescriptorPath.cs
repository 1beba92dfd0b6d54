using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Doppel.Host.Folders;

/// <summary>The path by which the kernel offers an open file of this process (proc(5), /proc/self/fd); the file stays open until it is disposed.</summary>
internal readonly ref struct DescriptorPath
{
    /// <summary>Bytes that it needs.</summary>
    internal const int Length = 32;

    private readonly SafeFileHandle _handle;

    /// <exception cref="ObjectDisposedException">The file has been closed.</exception>
    internal DescriptorPath(SafeFileHandle handle, Span<byte> buffer)
    {
        bool isHeld = false;
        handle.DangerousAddRef(ref isHeld);
        _handle = handle;
        int count = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{handle.DangerousGetHandle()}\0"), buffer);
        Path = buffer[..count];
    }

    /// <summary>The path, with a zero behind it.</summary>
    internal ReadOnlySpan<byte> Path { get; }

    public void Dispose() => _handle.DangerousRelease();
}
