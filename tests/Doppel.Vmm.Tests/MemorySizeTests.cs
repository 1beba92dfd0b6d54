namespace Doppel.Vmm.Tests;

public sealed class MemorySizeTests
{
    [Theory]
    [InlineData("512M", 512UL << 20)]
    [InlineData("2G", 2UL << 30)]
    [InlineData("2gib", 2UL << 30)]
    [InlineData("64", 64UL << 20)]
    [InlineData("1024K", 1UL << 20)]
    [InlineData("1T", 1UL << 40)]
    public void A_size_is_read_with_its_unit(string text, ulong bytes)
    {
        Assert.True(MemorySize.TryParse(text, out ulong actual));
        Assert.Equal(bytes, actual);
    }

    [Theory]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("-5M")]
    [InlineData("5 M")]
    [InlineData("5X")]
    [InlineData("99999999999999999999")]
    [InlineData("99999999T")]
    public void What_is_no_size_is_refused(string text) => Assert.False(MemorySize.TryParse(text, out _));

    [Fact]
    public void A_size_is_written_in_the_largest_unit_that_divides_it()
    {
        Assert.Equal("1536 MiB", MemorySize.Format(1536UL << 20));
        Assert.Equal("1 GiB", MemorySize.Format(1UL << 30));
        Assert.Equal("0 bytes", MemorySize.Format(0));
    }
}
