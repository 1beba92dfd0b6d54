using Doppel.Bench;

namespace Doppel.Tools.Tests.Bench;

public sealed class FirmwareBenchTests
{
    private const string Frame = "\e[2;1HCLK/Temp: 1050MHz           | Pass   %   \e[3;1H| Test  50% ";

    [Theory]
    [InlineData("", false)]
    [InlineData("\e[2;35H\e[0m  5% ##   \e[3;35H 86% #####", false)]
    [InlineData("\e[2;35H\e[0m  5% ##   \e[2;35H\e[0m 40% #####", true)]
    [InlineData("\e[2;35H\e[0m100% ########", true)]
    public void Memtest86s_pass_is_read_from_the_second_row(string shown, bool hasPassed) => Assert.Equal(hasPassed, FirmwareBench.HasPassed(Frame + shown));
}
