using System.Net;
using Doppel.Devices.Display.Rfb;

namespace Doppel.Vmm.Tests;

public sealed class VncSpecTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-vnc-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("vnc", "127.0.0.1", null, null, false)]
    [InlineData("vnc=:7", "127.0.0.1", 7, null, false)]
    [InlineData("vnc=0.0.0.0:1,tls", "0.0.0.0", 1, null, true)]
    [InlineData("vnc=[::1]:2", "::1", 2, null, false)]
    [InlineData("vnc,password-file=/a/b,tls", "127.0.0.1", null, "/a/b", true)]
    public void What_a_user_gives_is_read(string text, string address, int? display, string? file, bool tls)
    {
        Assert.True(VncSpec.TryParse(text, out VncSpec? spec));
        Assert.Equal((address, display, file, tls), (spec.Address, spec.Display, spec.PasswordFile, spec.Tls));
    }

    [Theory]
    [InlineData("vnc=")]
    [InlineData("vnc=1")]
    [InlineData("vnc=:x")]
    [InlineData("vnc=:-1")]
    [InlineData("vnc=:70000")]
    [InlineData("vnc=host.example:1")]
    [InlineData("vnc,password-file=")]
    [InlineData("vnc,password=secret")]
    [InlineData("vnc,tls=no")]
    [InlineData("rdp")]
    public void What_can_not_be_is_refused(string text) => Assert.False(VncSpec.TryParse(text, out _));

    [Fact]
    public void The_password_is_the_first_line_of_its_file()
    {
        string file = Path.Combine(_folder, "password");
        File.WriteAllText(file, "secret\nmore\n");
        RfbOptions options = (new VncSpec { PasswordFile = file, Tls = true }).ToOptions("m");
        Assert.Equal(("secret", true, IPAddress.Loopback, "m"), (options.Password, options.IsEncrypted, options.Address, options.Name));
        foreach (string wrong in (string[])["", "\nsecret\n", "ninechars\n"])
        {
            File.WriteAllText(file, wrong);
            Assert.Contains("1 to 8 would be right", Refusal(file), StringComparison.Ordinal);
        }

        Assert.Contains("can't be read", Refusal(Path.Combine(_folder, "none")), StringComparison.Ordinal);
    }

    private static string Refusal(string file) => Assert.Throws<SpecException>(() => (new VncSpec { PasswordFile = file }).ToOptions("m")).Message;
}
