namespace Doppel.Vmm.Tests;

public sealed class VsockSpecTests
{
    [Theory]
    [InlineData("/run/v", "/run/v", 3u)]
    [InlineData("v,cid=17", "v", 17u)]
    [InlineData("a,b,cid=4", "a,b", 4u)]
    public void A_socket_is_read(string text, string path, uint cid)
    {
        Assert.True(VsockSpec.TryParse(text, out VsockSpec? vsock));
        Assert.Equal(new VsockSpec { Path = path, Cid = cid }, vsock);
    }

    [Theory]
    [InlineData("")]
    [InlineData(",cid=4")]
    [InlineData("v,cid=2")]
    [InlineData("v,cid=-1")]
    [InlineData("v,cid=4294967295")]
    [InlineData("v,cid=")]
    [InlineData("/a/path/of/more/than/ninety/six/bytes/which/leaves/no/room/for/a/port/in/the/address/of/a/unix/socket")]
    public void What_can_not_be_is_refused(string text) => Assert.False(VsockSpec.TryParse(text, out _));
}
