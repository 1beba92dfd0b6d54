using System.Runtime.InteropServices;

namespace Doppel.Host.Compression;

/// <summary>
/// Raw deflate with a chosen window, by the host's zlib (libz.so.1, Debian's zlib1g), for formats whose readers have a
/// smaller window than the runtime's encoder uses. Decompression needs no library of the host's.
/// </summary>
public static unsafe partial class Zlib
{
    /// <summary>sizeof(z_stream) on x86-64.</summary>
    internal const int StreamSize = 112;
    internal const int NextIn = 0;
    internal const int AvailableIn = 8;
    internal const int NextOut = 24;
    internal const int AvailableOut = 32;
    internal const int Deflated = 8;
    internal const int Finish = 4;
    internal const int StreamEnd = 1;
    private const string Library = "libz.so.1";
    private const int MemoryLevel = 9;
    private const int DefaultLevel = -1;

    /// <summary>True when the host has the library.</summary>
    public static bool IsAvailable { get; } = NativeLibrary.TryLoad(Library, out _);

    /// <summary>Compresses.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="target">Where to.</param>
    /// <param name="windowBits">Two's logarithm of the window, 9 to 15.</param>
    /// <returns>Bytes written; -1 when the target is too short.</returns>
    /// <exception cref="IOException">The library refuses.</exception>
    public static int Compress(ReadOnlySpan<byte> source, Span<byte> target, int windowBits)
    {
        byte* stream = stackalloc byte[StreamSize];
        new Span<byte>(stream, StreamSize).Clear();
        fixed (byte* from = source, to = target)
        {
            *(byte**)(stream + NextIn) = from;
            *(uint*)(stream + AvailableIn) = (uint)source.Length;
            *(byte**)(stream + NextOut) = to;
            *(uint*)(stream + AvailableOut) = (uint)target.Length;
            int result = Initialize(stream, DefaultLevel, Deflated, -windowBits, MemoryLevel, 0, "1", StreamSize);
            if (result != 0)
                throw new IOException($"{Library}: deflateInit2 answers {result}");
            result = Deflate(stream, Finish);
            _ = End(stream);
            return result == StreamEnd ? target.Length - (int)*(uint*)(stream + AvailableOut) : -1;
        }
    }

    [LibraryImport(Library, EntryPoint = "deflateInit2_", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Initialize(byte* stream, int level, int method, int windowBits, int memoryLevel, int strategy, string version, int size);

    [LibraryImport(Library, EntryPoint = "deflate")]
    private static partial int Deflate(byte* stream, int flush);

    [LibraryImport(Library, EntryPoint = "deflateEnd")]
    private static partial int End(byte* stream);
}
