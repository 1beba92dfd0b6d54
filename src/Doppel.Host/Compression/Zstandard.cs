using System.Runtime.InteropServices;

namespace Doppel.Host.Compression;

/// <summary>Zstandard by the host's library (libzstd.so.1, Debian's libzstd1).</summary>
public static unsafe partial class Zstandard
{
    private const string Library = "libzstd.so.1";
    private const int DefaultLevel = 3;

    /// <summary>A level for data that is on its way: three times as fast as the default one.</summary>
    public const int FastLevel = 1;

    /// <summary>True when the host has the library.</summary>
    public static bool IsAvailable { get; } = NativeLibrary.TryLoad(Library, out _);

    /// <summary>Compresses into one frame.</summary>
    /// <returns>Bytes written; -1 when the target is too short.</returns>
    /// <param name="source">What is compressed.</param>
    /// <param name="target">Where it goes.</param>
    /// <param name="level">How hard it tries, 1 to 19.</param>
    public static int Compress(ReadOnlySpan<byte> source, Span<byte> target, int level = DefaultLevel)
    {
        fixed (byte* from = source, to = target)
        {
            nuint result = Compress(to, (nuint)target.Length, from, (nuint)source.Length, level);
            return IsError(result) != 0 ? -1 : (int)result;
        }
    }

    /// <summary>Decompresses one frame, which other bytes may follow.</summary>
    /// <returns>Bytes written; -1 when the frame is damaged or the target too short.</returns>
    public static int Decompress(ReadOnlySpan<byte> source, Span<byte> target)
    {
        fixed (byte* from = source, to = target)
        {
            nuint frame = FindFrame(from, (nuint)source.Length);
            if (IsError(frame) != 0)
                return -1;
            nuint result = Decompress(to, (nuint)target.Length, from, frame);
            return IsError(result) != 0 ? -1 : (int)result;
        }
    }

    [LibraryImport(Library, EntryPoint = "ZSTD_compress")]
    private static partial nuint Compress(byte* target, nuint targetLength, byte* source, nuint sourceLength, int level);

    [LibraryImport(Library, EntryPoint = "ZSTD_decompress")]
    private static partial nuint Decompress(byte* target, nuint targetLength, byte* source, nuint sourceLength);

    [LibraryImport(Library, EntryPoint = "ZSTD_findFrameCompressedSize")]
    private static partial nuint FindFrame(byte* source, nuint length);

    [LibraryImport(Library, EntryPoint = "ZSTD_isError")]
    private static partial uint IsError(nuint result);
}
