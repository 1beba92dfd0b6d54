using System.Globalization;
using System.Text;

namespace Doppel.Vmm.Images;

/// <summary>
/// Writes a cpio archive in the "newc" form that Linux unpacks as its initial RAM disk (Linux
/// Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and bears time zero, so
/// that the same input gives the same bytes. Dispose writes the trailer and leaves the stream open.
/// </summary>
public sealed class CpioWriter : IDisposable
{
    private const uint DirectoryType = 0x4000, FileType = 0x8000, LinkType = 0xA000, CharacterDeviceType = 0x2000;
    private readonly Stream _stream;
    private uint _inode;
    private long _position;

    /// <summary>Writes to a stream.</summary>
    public CpioWriter(Stream stream) => _stream = stream;

    /// <summary>Adds a directory; its parent must have been added.</summary>
    /// <param name="name">Path without a leading slash.</param>
    /// <param name="mode">Permission bits.</param>
    public void AddDirectory(string name, uint mode = 0x1ED) => Add(name, DirectoryType | mode, [], 0, 0);

    /// <summary>Adds a regular file.</summary>
    public void AddFile(string name, ReadOnlySpan<byte> content, uint mode = 0x1A4) => Add(name, FileType | mode, content, 0, 0);

    /// <summary>Adds a symbolic link.</summary>
    public void AddLink(string name, string target) => Add(name, LinkType | 0x1FF, Encoding.UTF8.GetBytes(target), 0, 0);

    /// <summary>Adds a character device.</summary>
    public void AddCharacterDevice(string name, uint major, uint minor, uint mode = 0x180) => Add(name, CharacterDeviceType | mode, [], major, minor);

    /// <inheritdoc/>
    public void Dispose()
    {
        _inode = 0;
        WriteEntry("TRAILER!!!", 0, 0, [], 0, 0);
    }

    private void Add(string name, uint mode, ReadOnlySpan<byte> content, uint major, uint minor)
    {
        if (name.Length == 0 || name.StartsWith('/'))
            throw new ArgumentException($"\"{name}\" must be a relative path", nameof(name));
        _inode++;
        WriteEntry(name, _inode, mode, content, major, minor);
    }

    private void WriteEntry(string name, uint inode, uint mode, ReadOnlySpan<byte> content, uint major, uint minor)
    {
        byte[] nameBytes = [.. Encoding.UTF8.GetBytes(name), 0];
        uint links = (mode & 0xF000) == DirectoryType ? 2u : 1u;
        ReadOnlySpan<uint> fields = [inode, mode, 0, 0, links, 0, (uint)content.Length, 0, 0, major, minor, (uint)nameBytes.Length, 0];
        var header = new StringBuilder("070701", 110);
        foreach (uint field in fields)
            _ = header.Append(CultureInfo.InvariantCulture, $"{field:X8}");
        Write(Encoding.ASCII.GetBytes(header.ToString()));
        Write(nameBytes);
        Pad();
        Write(content);
        Pad();
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        _stream.Write(bytes);
        _position += bytes.Length;
    }

    private void Pad()
    {
        ReadOnlySpan<byte> zeros = [0, 0, 0];
        Write(zeros[..(int)(-_position & 3)]);
    }
}
