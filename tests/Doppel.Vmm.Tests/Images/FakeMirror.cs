using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Doppel.Vmm.Tests.Images;

/// <summary>A Debian mirror in a directory, with one small kernel and one small busybox.</summary>
internal sealed class FakeMirror : IDisposable
{
    internal const string Suite = "testing";

    internal FakeMirror(Func<string, byte[]>? corrupt = null, bool withDependency = true)
    {
        Root = Directory.CreateTempSubdirectory("doppel-mirror-").FullName;
        Kernel = [.. Enumerable.Range(0, 2000).Select(i => (byte)(i * 3))];
        var list = new StringBuilder();
        AddPackage(list, "linux-image-cloud-amd64", "1.0", withDependency ? "Depends: linux-image-6.1.0-9-cloud-amd64 (= 1.0)\n" : "", "usr/share/doc/empty", []);
        AddPackage(list, "linux-image-6.1.0-9-cloud-amd64", "1.0", "", "boot/vmlinuz-6.1.0-9-cloud-amd64", Kernel);
        AddPackage(list, "busybox-static", "1.35", "", "bin/busybox", "busybox!"u8.ToArray());
        string binary = Path.Combine(Root, "dists", Suite, "main", "binary-amd64");
        _ = Directory.CreateDirectory(binary);
        string path = Path.Combine(binary, "Packages.gz");
        using (var gzip = new GZipStream(File.Create(path), CompressionLevel.Fastest))
            gzip.Write(Encoding.UTF8.GetBytes(list.ToString()));
        byte[] packed = File.ReadAllBytes(path);
        File.WriteAllText(
            Path.Combine(Root, "dists", Suite, "InRelease"),
            $"Origin: Debian\nSHA256:\n {Hash(packed)} {packed.Length} main/binary-amd64/Packages.gz\n 00 1 other\n");
        if (corrupt is not null)
        {
            foreach (string file in Directory.EnumerateFiles(Path.Combine(Root, "pool")))
            {
                byte[] changed = corrupt(file);
                if (changed.Length > 0)
                    File.WriteAllBytes(file, changed);
            }
        }
    }

    internal string Root { get; }

    internal byte[] Kernel { get; }

    internal string Url => new Uri(Root).AbsoluteUri;

    public void Dispose() => Directory.Delete(Root, recursive: true);

    internal static byte[] Package(string path, byte[] content)
    {
        using var tar = new MemoryStream();
        using (var gzip = new GZipStream(tar, CompressionLevel.Fastest, leaveOpen: true))
        using (var writer = new TarWriter(gzip, TarEntryFormat.Gnu))
        {
            writer.WriteEntry(new GnuTarEntry(TarEntryType.Directory, "./"));
            writer.WriteEntry(new GnuTarEntry(TarEntryType.RegularFile, "./" + path) { DataStream = new MemoryStream(content) });
        }

        using var archive = new MemoryStream();
        archive.Write("!<arch>\n"u8);
        using var control = new MemoryStream();
        using (var gzip = new GZipStream(control, CompressionLevel.Fastest, leaveOpen: true))
        using (var writer = new TarWriter(gzip, TarEntryFormat.Gnu))
            writer.WriteEntry(new GnuTarEntry(TarEntryType.RegularFile, "./control") { DataStream = new MemoryStream("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"u8.ToArray()) });
        Member(archive, "debian-binary", "2.0\n"u8.ToArray());
        Member(archive, "control.tar.gz", control.ToArray());
        Member(archive, "data.tar.gz", tar.ToArray());
        return archive.ToArray();
    }

    private static void Member(MemoryStream archive, string name, byte[] content)
    {
        archive.Write(Encoding.ASCII.GetBytes($"{name,-16}{0,-12}{0,-6}{0,-6}{"100644",-8}{content.Length,-10}`\n"));
        archive.Write(content);
        if (content.Length % 2 == 1)
            archive.WriteByte((byte)'\n');
    }

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private void AddPackage(StringBuilder list, string name, string version, string extra, string path, byte[] content)
    {
        byte[] package = Package(path, content);
        _ = Directory.CreateDirectory(Path.Combine(Root, "pool"));
        File.WriteAllBytes(Path.Combine(Root, "pool", name + ".deb"), package);
        _ = list.Append(System.Globalization.CultureInfo.InvariantCulture, $"Package: {name}\nVersion: {version}\n{extra}Description: text\n more text\nFilename: pool/{name}.deb\nSize: {package.Length}\nSHA256: {Hash(package)}\n\n");
    }
}
