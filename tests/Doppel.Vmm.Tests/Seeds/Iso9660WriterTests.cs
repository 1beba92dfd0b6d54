using System.Diagnostics;
using System.Security.Cryptography;
using Doppel.Vmm.Seeds;

namespace Doppel.Vmm.Tests.Seeds;

/// <summary>bsdtar (libarchive) is the judge of what is written.</summary>
public sealed class Iso9660WriterTests : IDisposable
{
    private static readonly DateTimeOffset Time = new(2026, 2, 3, 4, 5, 6, TimeSpan.Zero);
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-iso-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Files_are_read_back_under_their_own_names()
    {
        (string, byte[])[] files = [("meta-data", "instance-id: x\n"u8.ToArray()), ("user-data", RandomNumberGenerator.GetBytes(100_000)), ("empty", []), ("A.name.with.dots-and_more", RandomNumberGenerator.GetBytes(2048))];
        string iso = Write(files);
        Assert.Equal(0, new FileInfo(iso).Length % 2048);
        Extract(iso);
        File.Delete(iso);
        Assert.Equal(files.Select(f => f.Item1).Order(StringComparer.Ordinal), Directory.EnumerateFileSystemEntries(_directory).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal));
        foreach ((string name, byte[] content) in files)
            Assert.Equal(content, File.ReadAllBytes(Path.Combine(_directory, name)));
        Assert.Equal(Time.UtcDateTime, File.GetLastWriteTimeUtc(Path.Combine(_directory, "meta-data")));
    }

    [Fact]
    public void A_directory_may_take_several_sectors()
    {
        (string, byte[])[] files = [.. Enumerable.Range(0, 100).Select(i => ($"a-file-with-a-long-name-{i}", new byte[] { (byte)i }))];
        Extract(Write(files));
        for (int i = 0; i < files.Length; i++)
            Assert.Equal([(byte)i], File.ReadAllBytes(Path.Combine(_directory, files[i].Item1)));
    }

    [Fact]
    public void The_volume_bears_its_identifier()
    {
        byte[] iso = File.ReadAllBytes(Write([("a", [])]));
        Assert.Equal("\u0001CD001\u0001\0"u8, iso.AsSpan(16 * 2048, 8));
        Assert.Equal("cidata                          "u8, iso.AsSpan((16 * 2048) + 40, 32));
        Assert.Equal(iso.Length / 2048, BitConverter.ToInt32(iso, (16 * 2048) + 80));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a/b")]
    [InlineData("ä")]
    public void A_name_that_cannot_be_is_refused(string name) =>
        Assert.Throws<ArgumentException>(() => Iso9660Writer.Write(Stream.Null, "cidata", [(name, [])], Time));

    private string Write((string, byte[])[] files)
    {
        string path = Path.Combine(_directory, "volume.iso");
        using FileStream stream = File.Create(path);
        Iso9660Writer.Write(stream, "cidata", files, Time);
        return path;
    }

    private void Extract(string iso)
    {
        using Process bsdtar = Process.Start("bsdtar", ["-xf", iso, "-C", _directory]);
        bsdtar.WaitForExit();
        Assert.Equal(0, bsdtar.ExitCode);
    }
}
