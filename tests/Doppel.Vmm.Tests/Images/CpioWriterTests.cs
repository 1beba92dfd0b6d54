using System.Diagnostics;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Tests.Images;

public sealed class CpioWriterTests
{
    [Fact]
    public void Entries_are_aligned_and_readable_by_their_headers()
    {
        using var stream = new MemoryStream();
        using (var archive = new CpioWriter(stream))
        {
            archive.AddDirectory("bin");
            archive.AddFile("bin/a", "hello"u8, 0x1ED);
            archive.AddLink("bin/sh", "a");
            archive.AddCharacterDevice("console", 5, 1);
        }

        List<(string Name, uint Mode, string Content, uint Major, uint Minor)> entries = Parse(stream.ToArray());
        Assert.Equal(("bin", 0x41EDu, "", 0u, 0u), entries[0]);
        Assert.Equal(("bin/a", 0x81EDu, "hello", 0u, 0u), entries[1]);
        Assert.Equal(("bin/sh", 0xA1FFu, "a", 0u, 0u), entries[2]);
        Assert.Equal(("console", 0x2180u, "", 5u, 1u), entries[3]);
        Assert.Equal("TRAILER!!!", entries[4].Name);
        Assert.Equal(5, entries.Count);
    }

    [Fact]
    public void An_absolute_name_is_refused()
    {
        using var archive = new CpioWriter(new MemoryStream());
        _ = Assert.Throws<ArgumentException>(() => archive.AddDirectory("/bin"));
    }

    internal static List<(string Name, uint Mode, string Content, uint Major, uint Minor)> Parse(byte[] bytes)
    {
        var entries = new List<(string, uint, string, uint, uint)>();
        int at = 0;
        while (true)
        {
            Assert.Equal("070701", System.Text.Encoding.ASCII.GetString(bytes, at, 6));
            uint Field(int index) => Convert.ToUInt32(System.Text.Encoding.ASCII.GetString(bytes, at + 6 + (8 * index), 8), 16);
            int size = (int)Field(6), nameSize = (int)Field(11);
            string name = System.Text.Encoding.UTF8.GetString(bytes, at + 110, nameSize - 1);
            int content = (at + 110 + nameSize + 3) & ~3;
            entries.Add((name, Field(1), System.Text.Encoding.UTF8.GetString(bytes, content, size), Field(9), Field(10)));
            Debug.Assert(Field(0) != 0 || name == "TRAILER!!!", "inode");
            at = (content + size + 3) & ~3;
            if (name == "TRAILER!!!")
            {
                Assert.Equal(bytes.Length, at);
                return entries;
            }
        }
    }
}
