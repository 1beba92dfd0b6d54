using System.Formats.Tar;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Tests.Images;

public sealed class DebianImageTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("doppel-debian-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task What_is_added_to_the_packages_belongs_to_root_and_programs_can_be_run()
    {
        string path = Path.Combine(_root, "additions.tar");
        await DebianImageBuilder.WriteAdditionsAsync(path, CancellationToken.None);
        var entries = new Dictionary<string, TarEntry>();
        using (var reader = new TarReader(File.OpenRead(path)))
        {
            while (reader.GetNextEntry(copyData: true) is TarEntry entry)
                entries.Add(entry.Name, entry);
        }

        Assert.All(entries.Values, e => Assert.Equal((0, 0), (e.Uid, e.Gid)));
        Assert.Equal((UnixFileMode)0x1ED, entries["usr/lib/doppel/settings"].Mode);
        Assert.Equal((UnixFileMode)0x1A4, entries["etc/ssh/sshd_config.d/doppel.conf"].Mode);
        // What a unit is enabled by must be there.
        foreach (TarEntry link in entries.Values.Where(e => e.EntryType == TarEntryType.SymbolicLink && e.LinkName.StartsWith("/etc/", StringComparison.Ordinal)))
            Assert.Contains(link.LinkName[1..], entries.Keys);
    }

    [Theory]
    [InlineData("busybox", "bookworm", "git", 8, null, "--name")]
    [InlineData("debian", "book worm", "git", 8, null, "--suite")]
    [InlineData("debian", "bookworm", "git;reboot", 8, null, "--packages")]
    [InlineData("debian", "bookworm", "--hook", 8, null, "--packages")]
    [InlineData("debian", "bookworm", "git", 0, null, "--size")]
    [InlineData("debian", "bookworm", "git", 8, "ftp://host/debian", "--mirror")]
    [InlineData("debian", "bookworm", "git", 8, "http://host/debian] x", "--mirror")]
    public async Task Options_that_cannot_be_are_refused_at_once(string name, string suite, string package, int gibibytes, string? mirror, string option)
    {
        var options = new DebianImageOptions { Name = name, Suite = suite, Packages = [package], Size = (long)gibibytes << 30, Mirror = mirror };
        ImageException error = await Assert.ThrowsAsync<ImageException>(() => new DebianImageBuilder(new ImageStore(_root)).BuildAsync(options, new Progress<ImageProgress>(), CancellationToken.None));
        Assert.StartsWith(option, error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root));
    }

    [Fact]
    public void Only_one_makes_an_image_and_what_a_killed_one_left_goes()
    {
        var store = new ImageStore(_root);
        string left = store.CreateWorkDirectory("debian"), other = store.CreateWorkDirectory("debian2");
        using (store.Hold("debian"))
        {
            Assert.False(Directory.Exists(left));
            Assert.True(Directory.Exists(other));
            Assert.Throws<ImageException>(() => store.Hold("debian"));
        }

        store.Hold("debian").Dispose();
        Assert.Equal([other], Directory.EnumerateFileSystemEntries(_root));
    }

    [Fact]
    public void A_partition_table_names_the_partition_to_the_disks_end()
    {
        string path = Path.Combine(_root, "disk");
        File.WriteAllBytes(path, new byte[4096]);
        PartitionTable.Write(path, 0x12345678, 1 << 20, 1L << 30);
        byte[] sector = File.ReadAllBytes(path)[..512];
        Assert.Equal(1L << 30, new FileInfo(path).Length);
        Assert.Equal((0x12345678u, 2048u, (1u << 21) - 2048), (BitConverter.ToUInt32(sector, 440), BitConverter.ToUInt32(sector, 454), BitConverter.ToUInt32(sector, 458)));
        Assert.Equal((0x83, 0xAA55), (sector[450], BitConverter.ToUInt16(sector, 510)));
    }
}
