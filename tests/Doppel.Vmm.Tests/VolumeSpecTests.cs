namespace Doppel.Vmm.Tests;

public sealed class VolumeSpecTests
{
    [Theory]
    [InlineData("/a:/b", "/a", "/b", false)]
    [InlineData("a/b:/mnt/c:ro", "a/b", "/mnt/c", true)]
    [InlineData(".:/w:rw", ".", "/w", false)]
    [InlineData("C:/x:/b", "C:/x", "/b", false)]
    [InlineData("/a:/b/", "/a", "/b/", false)]
    public void A_volume_is_read(string text, string host, string guest, bool isReadOnly)
    {
        Assert.True(VolumeSpec.TryParse(text, out VolumeSpec? volume));
        Assert.Equal(new VolumeSpec { HostPath = host, GuestPath = guest, IsReadOnly = isReadOnly }, volume);
    }

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData(":/b")]
    [InlineData("/a:b")]
    [InlineData("/a:/")]
    [InlineData("/a://")]
    [InlineData("/a:/b c")]
    [InlineData("/a:/b\"")]
    [InlineData("/a:/b/../c")]
    [InlineData("/a:ro")]
    [InlineData("/a:/b:rx")]
    public void What_is_no_volume_is_refused(string text) => Assert.False(VolumeSpec.TryParse(text, out _));

    [Fact]
    public void The_kernel_is_told_and_the_folder_must_exist()
    {
        var volume = new VolumeSpec { HostPath = "/no/such/folder", GuestPath = "/mnt", IsReadOnly = true };
        Assert.Equal("doppel.volume=doppel1:/mnt:ro", volume.KernelParameter(1));
        SpecException error = Assert.Throws<SpecException>(() => new MachineSpec { Kernel = "k", Volumes = [volume] }.Validate());
        Assert.Contains("/no/such/folder is no directory", error.Message, StringComparison.Ordinal);
        VolumeSpec there = volume with { HostPath = Path.GetTempPath() };
        new MachineSpec { Kernel = "k", Volumes = [there] }.Validate();
        _ = Assert.Throws<SpecException>(() => new MachineSpec { Kernel = "k", Volumes = [.. Enumerable.Repeat(there, MachineSpec.MaximumVolumes + 1)] }.Validate());
        _ = Assert.Throws<SpecException>(() => new MachineSpec { Kernel = "k", Volumes = [there with { GuestPath = "mnt" }] }.Validate());
    }
}
