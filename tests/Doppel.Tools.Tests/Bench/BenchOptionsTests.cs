using Doppel.Bench;

namespace Doppel.Tools.Tests.Bench;

public sealed class BenchOptionsTests
{
    [Fact]
    public void Rows_come_in_the_order_of_the_table() =>
        Assert.Equal(["alu", "boot"], BenchOptions.SelectRows("boot,alu").Select(row => row.Name));

    [Fact]
    public void Rows_that_need_a_network_run_only_when_they_are_named()
    {
        Assert.DoesNotContain(BenchOptions.SelectRows("all"), Row.Network.Contains);
        Assert.Equal(Row.Network, BenchOptions.SelectRows("net"));
        Assert.Equal(["alu", "net-echo"], BenchOptions.SelectRows("net-echo,alu").Select(row => row.Name));
    }

    [Fact]
    public void Rows_that_need_a_disk_or_the_whole_system_run_only_when_they_are_named()
    {
        Assert.DoesNotContain(BenchOptions.SelectRows("all"), row => Row.Disk.Contains(row) || row == Row.System);
        Assert.Equal([.. Row.Disk, Row.System], BenchOptions.SelectRows("system,disk"));
        Assert.Equal(["net-echo", "disk-latency"], BenchOptions.SelectRows("disk-latency,net-echo").Select(row => row.Name));
    }

    [Fact]
    public void An_unknown_row_is_named_with_those_that_exist()
    {
        string message = Assert.Throws<BenchException>(() => BenchOptions.SelectRows("alu,mandelbrot")).Message;
        Assert.Contains("'mandelbrot'", message, StringComparison.Ordinal);
        Assert.Contains("shell", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("interpreter")]
    [InlineData("interpreter=0")]
    [InlineData("interpreter=2")]
    [InlineData("interpreter=x")]
    public void A_bad_scale_is_refused(string pair) => Assert.Throws<BenchException>(() => BenchOptions.Scales([pair]));

    [Fact]
    public void A_scale_never_goes_below_what_a_row_needs()
    {
        Row row = Row.All.Single(r => r.Name == "getppid");
        Assert.Equal(row.Minimum, row.CountAt(0.000001));
        Assert.Equal(row.Count, row.CountAt(1));
    }
}
