using System.Text;
using Doppel.Cli.Terminals;

namespace Doppel.Cli.Tests.Terminals;

public sealed class KeyFilterTests
{
    private readonly List<KeyCommand> _commands = [];

    [Theory]
    [InlineData("ls -l\r", "ls -l\r")]
    [InlineData("a\u0001\u0001b", "a\u0001b")]
    [InlineData("\u0001a", "\u0001")]
    [InlineData("x\u0001xh", "xh")]
    public void Everything_but_Doppels_keys_goes_to_the_guest(string typed, string expected) => Assert.Equal(expected, Filter(typed));

    [Fact]
    public void Keys_become_commands()
    {
        _ = Filter("\u0001x\u0001h\u0001?\u0001c\u0001p");
        Assert.Equal([KeyCommand.Leave, KeyCommand.Help, KeyCommand.Help, KeyCommand.ShowCpus, KeyCommand.PowerButton], _commands);
    }

    [Fact]
    public void A_key_may_come_in_two_pieces()
    {
        var filter = new KeyFilter(_commands.Add);
        Assert.Equal(1, filter.Filter("q\u0001"u8.ToArray()));
        Assert.Equal(0, filter.Filter("x"u8.ToArray()));
        Assert.Equal([KeyCommand.Leave], _commands);
    }

    [Fact]
    public async Task A_stream_yields_what_is_left_and_ends_when_its_source_ends()
    {
        using var stream = new KeyFilterStream(new MemoryStream("\u0001hab"u8.ToArray()), new KeyFilter(_commands.Add));
        byte[] buffer = new byte[2];
        Assert.Equal(2, await stream.ReadAsync(buffer.AsMemory()));
        Assert.Equal("ab", Encoding.ASCII.GetString(buffer));
        Assert.Equal(0, await stream.ReadAsync(buffer.AsMemory()));
        Assert.Equal([KeyCommand.Help], _commands);
    }

    private string Filter(string typed)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(typed);
        int kept = new KeyFilter(_commands.Add).Filter(bytes);
        return Encoding.ASCII.GetString(bytes, 0, kept);
    }
}
