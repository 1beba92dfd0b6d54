using System.Net;
using System.Text;
using Doppel.Devices.Display.Rfb;
using Doppel.Devices.Input;

namespace Doppel.Devices.Tests.Display;

/// <summary>Who gets in to a machine's screen: addresses, passwords, encryption.</summary>
public sealed class RfbSecurityTests : IAsyncDisposable
{
    private const int Raw = 0, X509None = 260, X509Password = 261;
    private const byte None = 1, Password = 2, VeNCrypt = 19;
    private readonly TestDisplay _screen = new(64, 48);
    private RfbServer? _server;

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
            await _server.DisposeAsync();
        _screen.Dispose();
    }

    [Fact]
    public async Task Only_programs_of_this_host_get_in_unless_another_address_is_said()
    {
        Assert.Equal(IPAddress.Loopback, Start(new RfbOptions()).EndPoint.Address);
        Assert.InRange(_server!.EndPoint.Port, RfbOptions.FirstPort, RfbOptions.FirstPort + 99);
        await _server.DisposeAsync();
        var other = IPAddress.Parse("127.0.0.2");
        Assert.Equal(other, Start(new RfbOptions { Address = other }).EndPoint.Address);
    }

    [Theory]
    [InlineData("secret", true)]
    [InlineData("secret7890", true)]
    [InlineData("secret7", false)]
    [InlineData("s", false)]
    [InlineData("SECRET78", false)]
    public void A_wrong_password_is_refused_and_sees_nothing(string given, bool isRight)
    {
        _ = Start(new RfbOptions { Password = isRight ? given : "secret78" });
        using RfbTestClient client = Connect();
        Assert.Equal([Password], client.Greet());
        client.Choose(Password);
        Answer(client, given, isRight);
    }

    [Fact]
    public void A_password_that_DES_can_not_use_is_refused_before_anybody_comes()
    {
        // Two halves of a key whose subkeys are all the same: 1Eh and 0Eh, whose lowest bits DES takes for parity.
        IOException error = Assert.Throws<IOException>(() => Start(new RfbOptions { Password = "xxxxpppp" }));
        Assert.Contains("another would be right", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("xxxxpppp", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Each_client_gets_a_challenge_of_its_own()
    {
        _ = Start(new RfbOptions { Password = "secret" });
        var seen = new HashSet<string>();
        for (int i = 0; i < 4; i++)
        {
            using RfbTestClient client = Connect();
            _ = client.Greet();
            client.Choose(Password);
            Assert.True(seen.Add(Convert.ToHexString(client.ReadBytes(16))));
        }
    }

    [Theory]
    [InlineData(None)]
    [InlineData(VeNCrypt)]
    [InlineData(16)]
    public void Who_asks_for_less_than_a_password_is_refused(byte type)
    {
        _ = Start(new RfbOptions { Password = "secret" });
        using RfbTestClient client = Connect();
        Assert.Equal([Password], client.Greet());
        client.Choose(type);
        Assert.Equal(1u, client.ReadResult());
        Assert.Contains("wasn't offered", client.ReadReason(), StringComparison.Ordinal);
        Assert.True(client.IsEnded());
    }

    [Fact]
    public async Task An_old_client_is_told_what_it_needs()
    {
        _ = Start(new RfbOptions { Password = "secret" });
        using (RfbTestClient client = Connect())
        {
            // Version 3.3: the server says the type, and a refusal has no reason.
            _ = client.ReadBytes(12);
            client.Send("RFB 003.003\n"u8.ToArray());
            Assert.Equal([0, 0, 0, Password], client.ReadBytes(4));
            client.Send(RfbHandshake.Answer("other", client.ReadBytes(16)));
            Assert.Equal(1u, client.ReadResult());
            Assert.True(client.IsEnded());
        }

        await _server!.DisposeAsync();
        _ = Start(new RfbOptions { IsEncrypted = true });
        using RfbTestClient old = Connect();
        _ = old.ReadBytes(12);
        old.Send("RFB 003.003\n"u8.ToArray());
        Assert.Equal(0u, old.ReadResult());
        Assert.Contains("encryption", old.ReadReason(), StringComparison.Ordinal);
        Assert.True(old.IsEnded());
    }

    [Fact]
    public void An_encrypted_client_knows_the_server_by_its_fingerprint_and_sees_the_picture()
    {
        _screen.Paint((pixels, _) => Array.Fill(pixels, 0x00C0FFEEu));
        _ = Start(new RfbOptions { IsEncrypted = true, Name = "sealed" });
        using RfbTestClient client = Connect();
        Assert.Equal([VeNCrypt], client.Greet());
        Assert.Equal(X509None, client.Encrypt(_server!.Fingerprint!));
        Assert.Equal(0u, client.ReadResult());
        client.Initialize(Raw);
        Assert.Equal("sealed", client.Name);
        client.Request(isIncremental: false);
        client.ReadUpdate();
        client.WaitFor(() => _screen.Pixels);
    }

    [Theory]
    [InlineData("secret", true)]
    [InlineData("Secret", false)]
    public void A_password_is_asked_for_behind_the_encryption(string given, bool isRight)
    {
        _ = Start(new RfbOptions { IsEncrypted = true, Password = "secret" });
        using RfbTestClient client = Connect();
        Assert.Equal([VeNCrypt], client.Greet());
        Assert.Equal(X509Password, client.Encrypt(_server!.Fingerprint!));
        Answer(client, given, isRight);
    }

    [Fact]
    public void Nobody_gets_round_the_encryption()
    {
        _ = Start(new RfbOptions { IsEncrypted = true });
        using (RfbTestClient plain = Connect())
        {
            Assert.Equal([VeNCrypt], plain.Greet());
            plain.Choose(None);
            Assert.Equal(1u, plain.ReadResult());
        }

        using (RfbTestClient older = Connect())
        {
            _ = older.Greet();
            older.Choose(VeNCrypt);
            Assert.Equal([0, 2], older.ReadBytes(2));
            older.Send([0, 1]);
            Assert.Equal([0xFF], older.ReadBytes(1));
            Assert.True(older.IsEnded());
        }

        // 256 is "Plain", 257 to 259 are anonymous TLS.
        foreach (byte subtype in (byte[])[0, 1, 2, 3, 5])
        {
            using RfbTestClient other = Connect();
            _ = other.Greet();
            other.Choose(VeNCrypt);
            _ = other.ReadBytes(2);
            other.Send([0, 2]);
            Assert.Equal([0, 1, 0, 0, 1, 4], other.ReadBytes(6));
            other.Send([0, 0, 1, subtype]);
            Assert.Equal([0], other.ReadBytes(1));
            Assert.True(other.IsEnded());
        }

        // No TLS where it must begin.
        using RfbTestClient liar = Connect();
        _ = liar.Greet();
        liar.Choose(VeNCrypt);
        _ = liar.ReadBytes(2);
        liar.Send([0, 2]);
        _ = liar.ReadBytes(6);
        liar.Send([0, 0, 1, 4]);
        Assert.Equal([1], liar.ReadBytes(1));
        liar.Send(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\n\r\n"));
        Assert.True(EndsWithoutPicture(liar));
    }

    // TLS may say by an alert why it ends.
    private static bool EndsWithoutPicture(RfbTestClient client)
    {
        for (int i = 0; i < 64; i++)
        {
            if (client.IsEnded())
                return true;
        }

        return false;
    }

    private void Answer(RfbTestClient client, string password, bool isRight)
    {
        client.Send(RfbHandshake.Answer(password, client.ReadBytes(16)));
        Assert.Equal(isRight ? 0u : 1u, client.ReadResult());
        if (isRight)
        {
            client.Initialize(Raw);
            client.Request(isIncremental: false);
            client.ReadUpdate();
            client.WaitFor(() => _screen.Pixels);
            return;
        }

        Assert.Contains("password is wrong", client.ReadReason(), StringComparison.Ordinal);
        Assert.True(client.IsEnded());
    }

    private RfbTestClient Connect() => RfbTestClient.Connect(_server!.EndPoint);

    private RfbServer Start(RfbOptions options) => _server = RfbServer.Start(_screen.Display, new GuestInput(), options);
}
