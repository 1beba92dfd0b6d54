using System.Text;
using Doppel.Cli.Terminals;

namespace Doppel.Cli.Tests.Terminals;

/// <summary>What a terminal sends for keys: ECMA-48, and xterm's control sequences.</summary>
public sealed class TerminalKeysTests
{
    [Theory]
    [InlineData("a", "1E")]
    [InlineData("A", "2A+1E")]
    [InlineData("ab", "1E 30")]
    [InlineData("|", "2A+2B")]
    [InlineData("\r", "1C")]
    [InlineData("\u007f", "0E")]
    [InlineData("\t", "0F")]
    [InlineData("\u0003", "1D+2E")]
    [InlineData("\0", "1D+39")]
    [InlineData("\u001b", "01")]
    [InlineData("\u001b\u001b", "01 01")]
    [InlineData("\u001bx", "38+2D")]
    [InlineData("\u001bX", "38+2A+2D")]
    [InlineData("\u001b[A\u001b[B\u001b[C\u001b[D", "C8 D0 CD CB")]
    [InlineData("\u001bOA", "C8")]
    [InlineData("\u001b[H\u001b[F\u001b[1~\u001b[4~\u001b[7~\u001b[8~", "C7 CF C7 CF C7 CF")]
    [InlineData("\u001b[2~\u001b[3~\u001b[5~\u001b[6~", "D2 D3 C9 D1")]
    [InlineData("\u001bOP\u001bOQ\u001bOR\u001bOS", "3B 3C 3D 3E")]
    [InlineData("\u001b[11~\u001b[15~\u001b[17~\u001b[21~\u001b[23~\u001b[24~", "3B 3F 40 44 57 58")]
    [InlineData("\u001b[Z", "2A+0F")]
    [InlineData("\u001b[1;2A", "2A+C8")]
    [InlineData("\u001b[1;3D", "38+CB")]
    [InlineData("\u001b[1;5C", "1D+CD")]
    [InlineData("\u001b[1;8P", "2A+38+1D+3B")]
    [InlineData("\u001b[3;5~", "1D+D3")]
    [InlineData("\u001bOM", "9C")]
    [InlineData("\u001b[99~", "")]
    [InlineData("\u001b[?1;2c", "")]
    [InlineData("\u00e4", "")]
    public void Keys_are_found_in_what_the_terminal_sends(string typed, string expected)
    {
        IEnumerable<string> keys = TerminalKeys.Decode(Encoding.UTF8.GetBytes(typed)).Select(together => string.Join('+', together.Select(key => key.Number.ToString("X2"))));
        Assert.Equal(expected, string.Join(' ', keys));
    }

    [Fact]
    public void Anything_may_be_typed()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        for (int round = 0; round < 20_000; round++)
        {
            byte[] typed = new byte[random.Next(1, 20)];
            for (int i = 0; i < typed.Length; i++)
                typed[i] = random.Next(3) == 0 ? (byte)"\u001b[O;~"[random.Next(5)] : (byte)random.Next(256);
            int count = TerminalKeys.Decode(typed).Count();
            Assert.True(count <= typed.Length, $"seed {seed}: {count} combinations of keys in {Convert.ToHexString(typed)}");
        }
    }
}
