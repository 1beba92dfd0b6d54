using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Net.WebSockets;
using Doppel.Api;

namespace Doppel.Daemon.Tests;

/// <summary>The daemon over TCP: only with TLS, only with the token.</summary>
public sealed class RemoteTests
{
    [Fact]
    public async Task Another_host_comes_in_with_the_token_and_knows_the_certificate()
    {
        string address = FreeAddress();
        await using var daemon = new DaemonFixture("--listen", address);
        string said = (await daemon.Daemon.StandardError.ReadLineAsync())!;
        Assert.Contains(address, said, StringComparison.Ordinal);
        string fingerprint = said.Split("fingerprint is ")[1].Split(',')[0];
        string token = Path.Combine(daemon.Location.State.Path, "tls", "token");
        Assert.Contains(token, said, StringComparison.Ordinal);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(token));
        using var client = new DaemonClient(Remote.Parse(address, token, fingerprint));
        Assert.Equal(daemon.Daemon.Id, (await client.GetDaemonAsync(default)).ProcessId);

        _ = await client.CreateAsync(new CreateRequest { Spec = daemon.Spec("far") }, default);
        Assert.Equal(MachineState.Running, (await client.DoAsync("far", "start", default)).State);
        await using (Stream console = await client.AttachConsoleAsync("far", default))
        {
            await console.WriteAsync("a"u8.ToArray());
            byte[] answer = new byte[1];
            Assert.Equal(1, await console.ReadAsync(answer).AsTask().WaitAsync(TimeSpan.FromMinutes(1)));
            Assert.Equal((byte)'b', answer[0]);
        }

        string[] there = ["--host", address, "--token-file", token, "--fingerprint", fingerprint];
        Assert.Contains("far", daemon.Doppel(["ps", .. there]).Output, StringComparison.Ordinal);
        Assert.Contains("far", daemon.Doppel(["stats", .. there]).Output, StringComparison.Ordinal);
        Assert.Equal(0, daemon.Doppel(["snapshot", "create", "far", "s", .. there]).Code);
        Assert.Contains("s ", daemon.Doppel(["snapshot", "ls", "far", .. there]).Output, StringComparison.Ordinal);
        Assert.Contains('d', daemon.Doppel(["console", "far", .. there], "cq").Output);
        Assert.Contains("bd", daemon.Doppel(["logs", "-f", "far", .. there]).Output, StringComparison.Ordinal);

        // Somebody else's token, no token, another certificate.
        string wrong = Path.Combine(Path.GetDirectoryName(daemon.Kernel)!, "token");
        File.WriteAllText(wrong, new string('0', 64));
        Assert.Equal(401, (await Assert.ThrowsAsync<ApiException>(() => new DaemonClient(Remote.Parse(address, wrong, fingerprint)).ListAsync(default))).Status);
        Assert.Equal(401, (await Assert.ThrowsAsync<ApiException>(() => new DaemonClient(Remote.Parse(address, wrong, fingerprint)).AttachConsoleAsync("far", default))).Status);
        (int code, _, string errors) = daemon.Doppel(["ps", "--host", address, "--token-file", token]);
        Assert.Equal(6, code);
        Assert.Contains(fingerprint, errors, StringComparison.Ordinal);
        Assert.Equal(6, daemon.Doppel(["ps", "--host", address, "--token-file", token, "--fingerprint", string.Concat(Enumerable.Repeat("00", 32))]).Code);
        Assert.Equal(2, daemon.Doppel(["ps", "--host", address]).Code);
        Assert.Equal(2, daemon.Doppel(["ps", "--host", "tcp://127.0.0.1:1", "--token-file", token]).Code);
        Assert.Equal(2, daemon.Doppel(["ps", "--host", address, "--token-file", token, "--fingerprint", "xyz"]).Code);
        using var plain = new HttpClient { BaseAddress = new Uri($"http://{address["tls://".Length..]}/") };
        plain.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(token)).Trim());
        _ = await Assert.ThrowsAnyAsync<HttpRequestException>(() => plain.GetAsync("v1/machines"));

        // The next daemon proves itself with the same certificate.
        await daemon.Client.StopDaemonAsync(default);
        await daemon.Daemon.WaitForExitAsync();
        daemon.Restart();
        Assert.Equal(daemon.Daemon.Id, (await client.GetDaemonAsync(default)).ProcessId);
    }

    [Theory]
    [InlineData("tcp://127.0.0.1:7770", "without TLS")]
    [InlineData("tls://somewhere:7770", "would be right")]
    [InlineData("tls://127.0.0.1", "would be right")]
    public async Task Tcp_without_tls_is_refused(string address, string says)
    {
        await using var daemon = new DaemonFixture();
        await daemon.Client.StopDaemonAsync(default);
        await daemon.Daemon.WaitForExitAsync();
        (int code, string errors) = daemon.TryStart(["--listen", address]);
        Assert.Equal(6, code);
        Assert.Contains(says, errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_console_is_a_web_socket_that_pages_of_other_sites_do_not_get()
    {
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        Assert.Equal(409, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.AttachConsoleAsync("one", default))).Status);
        Assert.Equal(404, (await Assert.ThrowsAsync<ApiException>(() => daemon.Client.AttachConsoleAsync("none", default))).Status);
        _ = await daemon.Client.DoAsync("one", "start", default);
        await using (Stream first = await daemon.Client.AttachConsoleAsync("one", default))
        await using (Stream second = await daemon.Client.AttachConsoleAsync("one", default))
        {
            await first.WriteAsync("a"u8.ToArray());
            byte[] answer = new byte[1];
            Assert.Equal(1, await first.ReadAsync(answer).AsTask().WaitAsync(TimeSpan.FromMinutes(1)));
            Assert.Equal(1, await second.ReadAsync(answer).AsTask().WaitAsync(TimeSpan.FromMinutes(1)));
            Assert.Equal((byte)'b', answer[0]);
        }

        using var other = new ClientWebSocket();
        other.Options.SetRequestHeader("Origin", "https://elsewhere.example");
        using var invoker = new HttpMessageInvoker(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) =>
            {
                var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await connection.ConnectAsync(new UnixDomainSocketEndPoint(daemon.Location.Socket), cancel);
                return new NetworkStream(connection, ownsSocket: true);
            },
        });
        _ = await Assert.ThrowsAsync<WebSocketException>(() => other.ConnectAsync(new Uri("ws://doppel/v1/machines/one/console"), invoker, default));
        await using Stream last = await daemon.Client.AttachConsoleAsync("one", default);
        await last.WriteAsync("q"u8.ToArray());
        byte[] rest = new byte[100];
        while (await last.ReadAsync(rest).AsTask().WaitAsync(TimeSpan.FromMinutes(1)) != 0)
        {
        }
    }

    [Fact]
    public async Task A_server_keeps_its_machines_where_it_is_told()
    {
        string folder = Directory.CreateTempSubdirectory("doppel-s-").FullName;
        await using (var daemon = new DaemonFixture("--state-dir", folder))
        {
            Assert.True(File.Exists(Path.Combine(folder, "run", "doppeld")));
            using var client = new DaemonClient(Path.Combine(folder, "run", "doppeld"));
            _ = await client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
            MachineView view = await client.DoAsync("one", "start", default);
            Assert.Equal((Path.Combine(folder, "machines", "one"), Path.Combine(folder, "run", "w", "one")), (view.Folder, Path.GetDirectoryName(view.Socket)));
            await client.RemoveAsync("one", force: true, default);
            await client.StopDaemonAsync(default);
            await daemon.Daemon.WaitForExitAsync();
            daemon.RestartPlain();
        }

        Directory.Delete(folder, recursive: true);
    }

    internal static string FreeAddress()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return $"tls://{probe.LocalEndpoint}";
    }
}
