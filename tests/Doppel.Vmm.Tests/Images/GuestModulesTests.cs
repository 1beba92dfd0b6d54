using System.Diagnostics;
using Doppel.Vmm.Images;

namespace Doppel.Vmm.Tests.Images;

/// <summary>Which modules of a kernel's package go into the initial RAM disk.</summary>
public sealed class GuestModulesTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-modules-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("lib/modules/6.1.0/kernel/drivers/virtio/virtio_pci.ko", "virtio_pci.ko")]
    [InlineData("usr/lib/modules/6.12.0/kernel/drivers/virtio/virtio_pci.ko.xz", "virtio_pci.ko.xz")]
    [InlineData("lib/modules/6.1.0/kernel/drivers/net/e1000.ko", null)]
    [InlineData("usr/share/doc/virtio_pci.ko", null)]
    [InlineData("lib/modules/6.1.0/modules.order", null)]
    public void Only_virtio_drivers_are_taken(string path, string? file) =>
        Assert.Equal(file is null ? null : Path.Combine(_directory, file), new GuestModules(_directory).TargetOf(path));

    [Fact]
    public async Task They_come_in_the_order_in_which_they_load_and_unpacked()
    {
        File.WriteAllText(Path.Combine(_directory, "virtio_blk.ko"), "block");
        File.WriteAllText(Path.Combine(_directory, "virtio.ko"), "core");
        File.WriteAllText(Path.Combine(_directory, "virtio_ring.ko"), "ring");
        using (Process xz = Process.Start("xz", Path.Combine(_directory, "virtio.ko")))
            await xz.WaitForExitAsync();
        IReadOnlyList<(string Name, byte[] Content)> modules = await new GuestModules(_directory).ReadAsync(CancellationToken.None);
        Assert.Equal(["virtio_ring", "virtio", "virtio_blk"], modules.Select(module => module.Name));
        Assert.Equal("core"u8.ToArray(), modules[1].Content);
    }

    [Fact]
    public async Task A_damaged_module_is_refused()
    {
        File.WriteAllText(Path.Combine(_directory, "virtio.ko.xz"), "no xz");
        ImageException error = await Assert.ThrowsAsync<ImageException>(() => new GuestModules(_directory).ReadAsync(CancellationToken.None));
        Assert.Equal(ImageError.Content, error.Error);
    }
}
