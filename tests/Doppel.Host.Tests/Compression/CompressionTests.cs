using System.IO.Compression;
using Doppel.Host.Compression;

namespace Doppel.Host.Tests.Compression;

public sealed class CompressionTests
{
    [Fact]
    public void The_stream_matches_the_C_compiler_where_the_header_is_installed()
    {
        // zlib itself refuses a structure of another size, and the other test would fail with other offsets.
        if (!File.Exists("/usr/include/zlib.h"))
            return;
        long[] values = CProgram.Evaluate(
            ["zlib.h"],
            [
                "sizeof(z_stream)", "offsetof(z_stream, next_in)", "offsetof(z_stream, avail_in)", "offsetof(z_stream, next_out)", "offsetof(z_stream, avail_out)",
                "Z_DEFLATED", "Z_FINISH", "Z_STREAM_END",
            ]);
        long[] ours = [Zlib.StreamSize, Zlib.NextIn, Zlib.AvailableIn, Zlib.NextOut, Zlib.AvailableOut, Zlib.Deflated, Zlib.Finish, Zlib.StreamEnd];
        Assert.Equal(values, ours);
    }

    [Fact]
    public void Deflate_keeps_to_its_window_and_is_read_by_the_runtime()
    {
        byte[] pattern = new byte[5000];
        new Random(3).NextBytes(pattern);
        byte[] source = [.. pattern, .. pattern, .. new byte[20_000]];
        byte[] target = new byte[source.Length];
        int small = Zlib.Compress(source, target, windowBits: 12);
        byte[] read = new byte[source.Length];
        using (var stream = new DeflateStream(new MemoryStream(target, 0, small), CompressionMode.Decompress))
            stream.ReadExactly(read);
        Assert.Equal(source, read);

        // The repetition lies farther back than 4096 bytes, so only the larger window can use it.
        Assert.True(small > 10_000);
        Assert.InRange(Zlib.Compress(source, target, windowBits: 15), 1, 6_000);
        Assert.Equal(-1, Zlib.Compress(pattern, target.AsSpan(0, 100), windowBits: 12));
    }

    [Fact]
    public void Zstandard_reads_one_frame_and_leaves_what_follows()
    {
        byte[] source = [.. Enumerable.Range(0, 50_000).Select(i => (byte)(i / 300))];
        byte[] target = new byte[source.Length], read = new byte[source.Length];
        int length = Zstandard.Compress(source, target);
        Assert.InRange(length, 1, 5000);
        target[length] = 0x55;
        Assert.Equal(source.Length, Zstandard.Decompress(target.AsSpan(0, length + 100), read));
        Assert.Equal(source, read);
        Assert.Equal(-1, Zstandard.Decompress(target.AsSpan(0, length / 2), read));
        Assert.Equal(-1, Zstandard.Decompress(target.AsSpan(0, length), read.AsSpan(0, 100)));
        Assert.Equal(-1, Zstandard.Compress(source, target.AsSpan(0, 10)));
    }
}
