using System.Text;
using Doppel.Vmm.Consoles;

namespace Doppel.Vmm.Tests.Consoles;

public sealed class WindowSizeLineTests
{
    private readonly WindowSizeLine _line = new();

    [Fact]
    public void Nothing_comes_before_the_guest_asks()
    {
        _line.SetSize(24, 80);
        Assert.Equal("", Read());
    }

    [Fact]
    public void The_guest_is_told_the_size_when_it_asks_and_when_it_changes()
    {
        _line.SetSize(24, 80);
        _line.Write("size\n"u8);
        Assert.Equal("24 80\n", Read());
        _line.SetSize(50, 132);
        Assert.Equal("50 132\n", Read());
    }

    [Fact]
    public void Only_the_newest_size_waits()
    {
        _line.Write("size\r\n"u8);
        _line.SetSize(1, 2);
        _line.SetSize(3, 4);
        Assert.Equal("3 4\n", Read());
    }

    [Fact]
    public void A_size_that_the_guest_has_begun_to_read_arrives_whole()
    {
        _line.SetSize(24, 80);
        _line.Write("size\n"u8);
        byte[] first = new byte[2];
        Assert.Equal(2, _line.Read(first));
        _line.SetSize(50, 132);
        Assert.Equal("24 80\n50 132\n", Encoding.ASCII.GetString(first) + Read());
    }

    [Fact]
    public void Noise_is_ignored()
    {
        _line.SetSize(24, 80);
        _line.Write("login: size of things is very long indeed\nsiz\n"u8);
        Assert.Equal("", Read());
    }

    private string Read()
    {
        byte[] buffer = new byte[64];
        return Encoding.ASCII.GetString(buffer, 0, _line.Read(buffer));
    }
}
