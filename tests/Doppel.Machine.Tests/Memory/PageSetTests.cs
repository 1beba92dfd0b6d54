using Doppel.Host.Files;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Tests.Memory;

public sealed class PageSetTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-pages-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Runs_are_what_was_added()
    {
        var set = new PageSet(200);
        Assert.Empty(set.Runs());
        set.Add(0);
        set.Add(62, 5);
        set.Add(128);
        set.Add(199);
        Assert.Equal([(0UL, 1UL), (62UL, 5UL), (128UL, 1UL), (199UL, 1UL)], set.Runs());
        Assert.Equal(8UL, set.Count);
        Assert.True(set.Contains(66));
        Assert.False(set.Contains(67) || set.Contains(500));
        PageSet copy = set.Clone();
        set.Clear();
        Assert.Equal(0UL, set.Count);
        set.Add(copy);
        Assert.Equal(copy.Runs(), set.Runs());
        set.Add(0, 200);
        Assert.Equal([(0UL, 200UL)], set.Runs());
        Assert.Throws<ArgumentOutOfRangeException>(() => set.Add(200));
        Assert.Throws<ArgumentOutOfRangeException>(() => set.Add(new PageSet(100)));
    }

    [Fact]
    public void A_file_under_memory_is_read_when_it_is_touched_and_never_written()
    {
        string path = Path.Combine(_directory, "memory");
        byte[] content = new byte[1 << 20];
        Random.Shared.NextBytes(content);
        File.WriteAllBytes(path, content);
        using var memory = new GuestMemory(4 << 20);
        using (var file = new HostFile(path, HostFileMode.Read))
        {
            memory.ShowFile(file, 0x1000, 0x80000);
            Assert.Throws<ArgumentOutOfRangeException>(() => memory.ShowFile(file, 0xFF000, 0x2000));
            Assert.Throws<ArgumentOutOfRangeException>(() => memory.ShowFile(file, 0x3FF000, 0x2000));
        }

        File.Delete(path);
        byte[] read = new byte[0x80000];
        Assert.True(memory.TryRead(0x1000, read));
        Assert.Equal(content[0x1000..0x81000], read);
        var dirty = PageSet.For(memory);
        memory.TakeDirtyPages(dirty);
        Assert.Equal(0UL, dirty.Count);
        Assert.True(memory.TryWrite(0x3000, [1, 2, 3]));
        memory.TakeDirtyPages(dirty);
        Assert.Equal([(3UL, 1UL)], dirty.Runs());

        // Only pages that show no file and were never written are unused.
        Assert.Equal(0x1000UL, memory.UnusedFrom(0, 0x4000));
        Assert.Equal(0UL, memory.UnusedFrom(0x1000, 0x4000));
        Assert.Equal(0x8000UL, memory.UnusedFrom(0x81000, 0x8000));
        Assert.True(memory.TryWrite(0x90000, [1]));
        Assert.Equal(0xF000UL, memory.UnusedFrom(0x81000, 0x100000));

        // What is given back is zeros, and stays so.
        Assert.True(memory.TryFree(0x2000, 0x3000));
        Assert.True(memory.TryRead(0x2000, read.AsSpan(0, 0x3000)));
        Assert.False(read.AsSpan(0, 0x3000).ContainsAnyExcept((byte)0));
        Assert.True(memory.TryRead(0x5000, read.AsSpan(0, 0x1000)));
        Assert.Equal(content[0x5000..0x6000], read[..0x1000]);
        Assert.True(memory.TryWrite(0x2000, [7]));
        Assert.True(memory.TryRead(0x2000, read.AsSpan(0, 1)));
        Assert.Equal(7, read[0]);
    }
}
