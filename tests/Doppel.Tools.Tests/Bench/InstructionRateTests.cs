using Doppel.Bench;

namespace Doppel.Tools.Tests.Bench;

public sealed class InstructionRateTests
{
    [Fact]
    public void Boot_and_end_cancel_out()
    {
        InstructionRate? rate = InstructionRate.Between(
            "e", (new Sample("shell", 1000, 2_000_000, null, "0", null), 51_000_000), (new Sample("shell", 3000, 6_000_000, null, "0", null), 53_000_000));
        Assert.Equal(new InstructionRate("e", 1000, 5e8), rate);
    }

    [Fact]
    public void A_failed_run_or_one_that_was_not_counted_gives_no_rate()
    {
        var good = new Sample("shell", 3000, 6_000_000, null, "0", null);
        Assert.Null(InstructionRate.Between("e", (new Sample("shell", 1000, null, null, null, "it fell"), 5), (good, 9)));
        Assert.Null(InstructionRate.Between("e", (good with { Count = 1000, GuestNanoseconds = 1 }, null), (good, 9)));
    }

    [Theory]
    [InlineData("doppel: 123 guest instructions in 1.0 s: 0.1 million a second", 123UL)]
    [InlineData("doppel: the guest's kernel crashed", null)]
    [InlineData("", null)]
    public void The_count_is_read_from_what_the_command_says(string line, ulong? expected) => Assert.Equal(expected, Protocol.Instructions(line));
}
