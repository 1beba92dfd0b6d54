using System.Buffers.Binary;
using Doppel.Host.Memory;

namespace Doppel.Vmm.Boot;

/// <summary>The bytes of a boot image, with little-endian reads that fail with a clear <see cref="BootException"/>.</summary>
/// <remarks>What <see cref="Read"/> has read lies outside of the managed heap, so that disposal gives it back at once.</remarks>
public sealed class BootFile : IDisposable
{
    /// <summary>Largest file that is read: 1 GiB.</summary>
    public const long MaximumLength = 1L << 30;

    private readonly byte[]? _bytes;
    private readonly AnonymousMemory? _memory;

    /// <summary>Wraps bytes under a name for messages.</summary>
    public BootFile(string name, byte[] bytes)
    {
        Name = name;
        _bytes = bytes;
        Length = bytes.Length;
    }

    private BootFile(string name, AnonymousMemory memory, int length)
    {
        Name = name;
        _memory = memory;
        Length = length;
    }

    /// <summary>The path, for messages.</summary>
    public string Name { get; }

    /// <summary>Number of bytes.</summary>
    public int Length { get; }

    /// <summary>All bytes.</summary>
    public ReadOnlySpan<byte> Bytes => _memory is null ? _bytes : _memory.Span[..Length];

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="what">"kernel" or "initial RAM disk", for messages.</param>
    /// <exception cref="BootException">It can't be read, is empty or is larger than <see cref="MaximumLength"/>.</exception>
    public static BootFile Read(string path, string what)
    {
        try
        {
            if (Directory.Exists(path))
                throw new BootException(BootError.Unreadable, $"{path}: the {what} is a directory; give a file");
            using FileStream stream = File.OpenRead(path);
            if (stream.CanSeek && stream.Length > MaximumLength)
                throw new BootException(BootError.TooLarge, $"{path}: the {what} has {stream.Length} bytes; at most {MaximumLength} are read");
            if (!stream.CanSeek)
            {
                using var copy = new MemoryStream();
                stream.CopyTo(copy);
                return copy.Length == 0 ? throw Empty(path, what) : new BootFile(path, copy.ToArray());
            }

            if (stream.Length == 0)
                throw Empty(path, what);
            var memory = new AnonymousMemory((ulong)stream.Length);
            try
            {
                stream.ReadExactly(memory.Span);
                return new BootFile(path, memory, (int)stream.Length);
            }
            catch
            {
                memory.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BootException(BootError.Unreadable, $"{path}: the {what} does not exist", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BootException(BootError.Unreadable, $"{path}: the {what} can't be read: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();

    /// <summary>Reads one byte.</summary>
    public byte ReadByte(long offset, string field) => Slice(offset, 1, field)[0];

    /// <summary>Reads two bytes.</summary>
    public ushort ReadUInt16(long offset, string field) => BinaryPrimitives.ReadUInt16LittleEndian(Slice(offset, 2, field));

    /// <summary>Reads four bytes.</summary>
    public uint ReadUInt32(long offset, string field) => BinaryPrimitives.ReadUInt32LittleEndian(Slice(offset, 4, field));

    /// <summary>Reads eight bytes.</summary>
    public ulong ReadUInt64(long offset, string field) => BinaryPrimitives.ReadUInt64LittleEndian(Slice(offset, 8, field));

    /// <summary>A range of the file.</summary>
    /// <exception cref="BootException">The range leaves the file.</exception>
    public ReadOnlySpan<byte> Slice(long offset, long length, string field)
    {
        if (offset < 0 || length < 0 || offset > Length || length > Length - offset)
            throw Truncated((ulong)Math.Max(offset, 0) + (ulong)Math.Max(length, 0), field);
        return Bytes.Slice((int)offset, (int)length);
    }

    private static BootException Empty(string path, string what) => new(BootError.Truncated, $"{path}: the {what} is empty");

    /// <summary>The exception for a file that is too short.</summary>
    public BootException Truncated(ulong needed, string field) =>
        new(BootError.Truncated, $"{Name}: truncated: {field} needs {needed} bytes, the file ends at byte {Length}");

    /// <summary>The exception for a header with an impossible value.</summary>
    public BootException Malformed(string message) => new(BootError.Malformed, $"{Name}: damaged: {message}");
}
