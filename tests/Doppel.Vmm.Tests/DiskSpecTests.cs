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
    public void Limits_are_read()
    {
        Assert.True(DiskSpec.TryParse("d,bps=64K,iops=10", out DiskSpec? disk, out _));
        Assert.Equal(new DiskSpec { Path = "d", BytesPerSecond = 64 << 10, OperationsPerSecond = 10 }, disk);
        Assert.True(NetworkSpec.TryParse("user,bps=10M", out NetworkSpec? network, out _));
        Assert.Equal(new NetworkSpec { BytesPerSecond = 10 << 20 }, network);
        Assert.True(NetworkSpec.TryParse(network.ToString(), out NetworkSpec? again, out _));
        Assert.Equal(network.BytesPerSecond, again.BytesPerSecond);
        Assert.False(NetworkSpec.TryParse("user,bps=1K", out _, out _));
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
    [InlineData("d,bps=1K", "bps=1K")]
    [InlineData("d,bps=", "bps=")]
    [InlineData("d,iops=9", "iops=9")]
    [InlineData("d,iops=-1", "iops=-1")]
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
    public void Ide_has_four_places_and_a_disc_goes_to_the_second_channel()
    {
        DiskSpec disk = new() { Path = "d", Interface = DiskInterface.Ide }, disc = DiskSpec.ForCdrom("c");
        Assert.Equal([1, 2, 0, null], DrivePlaces.OfIde([disc, disk, disk]));
        Assert.Equal([0, 1, 2, 3], DrivePlaces.OfIde([disk, disk, disk, disk]));
        Assert.Equal([4, 3, 1, 2], DrivePlaces.OfIde([new DiskSpec { Path = "v" }, disc, disc, disc, disk]));
        DrivePlaces.Validate([disc, disc, disk, disk]);
        SpecException e = Assert.Throws<SpecException>(() => DrivePlaces.Validate([disc, disc, disk, disk, disk]));
        Assert.Contains("at most 4", e.Message, StringComparison.Ordinal);
        _ = Assert.Throws<SpecException>(() => DrivePlaces.Validate([disc with { Interface = DiskInterface.Nvme }]));
        _ = Assert.Throws<SpecException>(() => DrivePlaces.Validate([disk with { Path = "" }]));
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
