using System.Globalization;
using System.Text;

namespace Doppel.Bench;

/// <summary>
/// Writes an archive in cpio's "newc" form, as Linux reads for its initial file system
/// (Documentation/driver-api/early-userspace/buffer-format). Needs no rights, also for device nodes.
/// </summary>
internal sealed class CpioArchive(Stream target)
{
    private const uint DirectoryMode = 0x41ED;
    private const uint FileMode = 0x81ED;
    private const uint CharacterMode = 0x2180;

    private uint _inode = 1;
    private long _written;

    /// <summary>Adds a directory, mode 0755.</summary>
    public void AddDirectory(string name) => Add(name, DirectoryMode, 0, 0, []);

    /// <summary>Adds a file, mode 0755.</summary>
    public void AddFile(string name, ReadOnlySpan<byte> content) => Add(name, FileMode, 0, 0, content);

    /// <summary>Adds a character device, mode 0600.</summary>
    public void AddCharacterDevice(string name, uint major, uint minor) => Add(name, CharacterMode, major, minor, []);

    /// <summary>Writes the end of the archive.</summary>
    public void Finish() => Add("TRAILER!!!", 0, 0, 0, []);

    private void Add(string name, uint mode, uint major, uint minor, ReadOnlySpan<byte> content)
    {
        uint[] fields = [_inode++, mode, 0, 0, 1, 0, (uint)content.Length, 0, 0, major, minor, (uint)name.Length + 1, 0];
        var header = new StringBuilder("070701");
        foreach (uint field in fields)
        {
            header.Append(CultureInfo.InvariantCulture, $"{field:X8}");
        }

        Write(Encoding.ASCII.GetBytes($"{header}{name}\0"));
        Write(content);
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        target.Write(bytes);
        _written += bytes.Length;
        int padding = (int)(-_written & 3);
        target.Write(stackalloc byte[padding]);
        _written += padding;
    }
}
