using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Doppel.Bench;

/// <summary>The kernel modules of an image's initial RAM disk, for guests that need a driver.</summary>
internal static class GuestModules
{
    private const string Directory = "lib/modules/";
    private const int HeaderLength = 110;

    /// <summary>Name and content of each. The archive is a gzip of cpio's "newc" form, as the image's builder writes it.</summary>
    public static IReadOnlyList<(string Name, byte[] Content)> Read(string initrd)
    {
        using var archive = new MemoryStream();
        using (var gzip = new GZipStream(File.OpenRead(initrd), CompressionMode.Decompress))
        {
            gzip.CopyTo(archive);
        }

        var modules = new List<(string, byte[])>();
        ReadOnlySpan<byte> bytes = archive.GetBuffer().AsSpan(0, (int)archive.Length);
        for (int at = 0; at + HeaderLength <= bytes.Length;)
        {
            int size = Field(bytes, at, 6), nameSize = Field(bytes, at, 11);
            string name = Encoding.UTF8.GetString(bytes.Slice(at + HeaderLength, nameSize - 1));
            int content = Align(at + HeaderLength + nameSize);
            if (name.StartsWith(Directory, StringComparison.Ordinal) && size > 0)
            {
                modules.Add((name[Directory.Length..], bytes.Slice(content, size).ToArray()));
            }

            at = Align(content + size);
        }

        return modules;
    }

    private static int Field(ReadOnlySpan<byte> bytes, int header, int field) =>
        int.Parse(Encoding.ASCII.GetString(bytes.Slice(header + 6 + (8 * field), 8)), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static int Align(int offset) => (offset + 3) & ~3;
}
