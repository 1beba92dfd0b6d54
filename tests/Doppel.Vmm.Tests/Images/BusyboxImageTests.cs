using System.IO.Compression;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Tests.Images;

public sealed class BusyboxImageTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("doppel-cache-").FullName;
    private readonly List<ImageProgress> _progress = [];

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task An_image_is_made_from_a_mirror_and_found_listed_and_removed()
    {
        using var mirror = new FakeMirror();
        ImageStore store = Store();
        GuestImage image = await BuildAsync(store, mirror);
        Assert.Equal("6.1.0-9-cloud-amd64", image.Manifest.KernelVersion);
        Assert.Equal(mirror.Kernel, File.ReadAllBytes(image.KernelPath));
        Assert.Equal(image.Directory, Assert.Single(store.List()).Directory);
        Assert.Equal(["linux-image-6.1.0-9-cloud-amd64", "busybox-static"], image.Manifest.Packages.Select(p => p.Name));
        Assert.Contains(_progress, p => p.Step == "downloading busybox-static 1.35");
        Assert.Equal(["busybox"], Directory.EnumerateFileSystemEntries(store.Root).Select(Path.GetFileName));

        using var initrd = new MemoryStream();
        using (var gzip = new GZipStream(File.OpenRead(image.InitrdPath), CompressionMode.Decompress))
            gzip.CopyTo(initrd);
        var entries = CpioWriterTests.Parse(initrd.ToArray());
        Assert.Contains(entries, e => e.Name == "bin/busybox" && e.Content == "busybox!" && e.Mode == 0x81ED);
        Assert.Contains(entries, e => e.Name == "init" && e.Content.StartsWith("#!/bin/busybox sh", StringComparison.Ordinal));
        Assert.Contains(entries, e => e.Name == "dev/console" && e.Major == 5 && e.Minor == 1);

        Assert.True(store.Remove("busybox"));
        Assert.False(store.Remove("busybox"));
        Assert.Empty(store.List());
    }

    [Fact]
    public async Task A_package_with_a_wrong_checksum_is_refused_and_leaves_nothing_behind()
    {
        using var mirror = new FakeMirror(file => file.Contains("busybox", StringComparison.Ordinal) ? FakeMirror.Package("bin/busybox", "evil"u8.ToArray()) : []);
        ImageStore store = Store();
        ImageException error = await Assert.ThrowsAsync<ImageException>(() => BuildAsync(store, mirror));
        Assert.Equal(ImageError.Checksum, error.Error);
        Assert.Empty(Directory.EnumerateFileSystemEntries(store.Root));
    }

    [Fact]
    public async Task A_package_list_that_does_not_match_the_release_is_refused()
    {
        using var mirror = new FakeMirror();
        File.AppendAllText(Path.Combine(mirror.Root, "dists", FakeMirror.Suite, "main", "binary-amd64", "Packages.gz"), "x");
        Assert.Equal(ImageError.Checksum, (await Assert.ThrowsAsync<ImageException>(() => BuildAsync(Store(), mirror))).Error);
    }

    [Fact]
    public async Task An_unsigned_mirror_is_refused_when_a_signature_is_required()
    {
        using var mirror = new FakeMirror();
        var source = new MirrorPackageSource(mirror.Url, FakeMirror.Suite, requireSignature: true);
        ImageException error = await Assert.ThrowsAsync<ImageException>(() => source.OpenAsync(new Sink(_progress), CancellationToken.None));
        Assert.Contains("--unsigned", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_mirror_that_is_not_there_is_named()
    {
        string url = new Uri(Path.Combine(_root, "nowhere")).AbsoluteUri;
        var source = new MirrorPackageSource(url, "testing", requireSignature: false);
        ImageException error = await Assert.ThrowsAsync<ImageException>(() => source.OpenAsync(new Sink(_progress), CancellationToken.None));
        Assert.Equal(ImageError.Network, error.Error);
        Assert.Contains(url, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_package_list_without_a_kernel_is_refused()
    {
        using var mirror = new FakeMirror(withDependency: false);
        Assert.Equal(ImageError.Content, (await Assert.ThrowsAsync<ImageException>(() => BuildAsync(Store(), mirror))).Error);
    }

    [Theory]
    [InlineData("")]
    [InlineData(".hidden")]
    [InlineData("../outside")]
    public void A_name_that_leaves_the_cache_is_refused(string name) =>
        Assert.Equal(ImageError.Unknown, Assert.Throws<ImageException>(() => Store().Remove(name)).Error);

    [Fact]
    public async Task An_image_with_a_missing_file_is_not_found()
    {
        using var mirror = new FakeMirror();
        ImageStore store = Store();
        GuestImage image = await BuildAsync(store, mirror);
        File.Delete(image.InitrdPath);
        Assert.Null(store.Find("busybox"));
    }

    private ImageStore Store() => new(Path.Combine(_root, "images"));

    private Task<GuestImage> BuildAsync(ImageStore store, FakeMirror mirror) => new BusyboxImageBuilder(store).BuildAsync(
        _ => new MirrorPackageSource(mirror.Url, FakeMirror.Suite, requireSignature: false), new Sink(_progress), CancellationToken.None);

    private sealed class Sink(List<ImageProgress> list) : IProgress<ImageProgress>
    {
        public void Report(ImageProgress value) => list.Add(value);
    }
}
