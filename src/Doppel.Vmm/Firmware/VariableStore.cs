using Doppel.Vmm.Boot;

namespace Doppel.Vmm.Firmware;

/// <summary>UEFI's variables: the content of the flash memory that keeps them, in a file of the machine's or for its life only. One thread at a time.</summary>
internal sealed class VariableStore : IDisposable
{
    private readonly FileStream? _file;

    /// <summary>Opens a machine's variables; a file that isn't there is made from those that the firmware comes with.</summary>
    /// <param name="path">The file; null for none.</param>
    /// <param name="template">A new machine's.</param>
    /// <exception cref="BootException">The file can't be had, or has another length.</exception>
    internal VariableStore(string? path, byte[] template)
    {
        Content = [.. template];
        if (path is null)
            return;
        try
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            // No other machine may use it meanwhile.
            _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
            if (_file.Length == 0)
                _file.Write(Content);
            else if (_file.Length != Content.Length)
                throw new BootException(BootError.Malformed, $"{path}: UEFI's variables have {_file.Length} bytes; {Content.Length} would be right, or no file, so that it is made");
            else
                _file.ReadExactly(Content);
        }
        catch (Exception e)
        {
            _file?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new BootException(BootError.Unreadable, $"{path}: UEFI's variables can't be used: {e.Message}", e);
            throw;
        }
    }

    /// <summary>All bytes.</summary>
    internal byte[] Content { get; }

    /// <summary>Keeps what has changed.</summary>
    /// <exception cref="IOException">The host refuses.</exception>
    internal void Write(int offset, ReadOnlyMemory<byte> bytes)
    {
        bytes.CopyTo(Content.AsMemory(offset));
        if (_file is null)
            return;
        _file.Position = offset;
        _file.Write(bytes.Span);
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();
}
