using Doppel.Devices.Storage.Images;

namespace Doppel.Vmm.Tests;

/// <summary>What users write after --disk.</summary>
public sealed class DiskSpecTests
{
    [Theory]
    [InlineData("disk.img", "disk.img", false, null, "")]
    [InlineData("a/b.img,ro", "a/b.img", true, null, "")]
    [InlineData("d,format=raw,serial=abc,if=virtio", "d", false, DiskFormat.Raw, "abc")]
    [InlineData("one,,two.img,ro", "one,two.img", true, null, "")]
    public void Properties_follow_the_path(string text, string path, bool isReadOnly, DiskFormat? format, string serial)
    {
        Assert.True(DiskSpec.TryParse(text, out DiskSpec? disk, out _));
        Assert.Equal(new DiskSpec { Path = path, IsReadOnly = isReadOnly, Format = format, Serial = serial }, disk);
    }

    [Fact]
    public void What_a_guest_writes_can_go_elsewhere()
    {
        Assert.True(DiskSpec.TryParse("d,ephemeral", out DiskSpec? ephemeral, out _));
        Assert.Equal(new DiskSpec { Path = "d", IsEphemeral = true }, ephemeral);
        Assert.True(DiskSpec.TryParse("d,overlay=o.qcow2,format=raw", out DiskSpec? overlay, out _));
        Assert.Equal(new DiskSpec { Path = "d", Overlay = "o.qcow2", Format = DiskFormat.Raw }, overlay);
    }

    [Theory]
    [InlineData("d,ro,ephemeral", "ephemeral")]
    [InlineData("d,ephemeral,ro", "ro")]
    [InlineData("d,ephemeral,overlay=o", "overlay=o")]
    [InlineData("d,overlay=", "overlay=")]
    [InlineData("", "")]
    [InlineData(",ro", "")]
    [InlineData("d,rw", "rw")]
    [InlineData("d,ro=1", "ro=1")]
    [InlineData("d,format=zip", "format=zip")]
    [InlineData("d,if=scsi", "if=scsi")]
    [InlineData("d,serial=", "serial=")]
    [InlineData("d,serial=123456789012345678901", "serial=123456789012345678901")]
    [InlineData("d,", "")]
    public void What_can_t_be_is_named(string text, string expected)
    {
        Assert.False(DiskSpec.TryParse(text, out DiskSpec? disk, out string wrong));
        Assert.Null(disk);
        Assert.Equal(expected, wrong);
    }

    [Fact]
    public void The_controller_can_be_chosen()
    {
        Assert.True(DiskSpec.TryParse("d,if=nvme", out DiskSpec? disk, out _));
        Assert.Equal(DiskInterface.Nvme, disk.Interface);
    }

    [Fact]
    public void Too_many_disks_are_refused()
    {
        var spec = new MachineSpec { Kernel = "k", Disks = [.. Enumerable.Repeat(new DiskSpec { Path = "d" }, MachineSpec.MaximumDisks + 1)] };
        Assert.Equal("disks", Assert.Throws<SpecException>(spec.Validate).Field);
    }
}
