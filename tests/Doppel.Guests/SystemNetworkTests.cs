using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Doppel.Devices.Network;
using Doppel.Vmm;
using Doppel.Vmm.Machines;
using Doppel.Vmm.Seeds;
using Doppel.Vmm.Ssh;

namespace Doppel.Guests;

/// <summary>The whole system with a network: packages from a repository on the host, SSH through a forwarded port, large files in and out.</summary>
[Collection("System")]
[Trait("Category", "Slow")]
public sealed class SystemNetworkTests(SystemImage system) : IDisposable
{
    // Where the host is in the network that libslirp makes.
    private const string Host = "10.0.2.2";
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-net-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Apt_installs_a_package_from_a_repository_on_the_host()
    {
        using var repository = new PackageRepository(_directory);
        await using SystemGuest guest = await SystemGuest.BootAsync(system.NewMachine(), new GuestSettings { HostName = "apt" }, s => s with { Networks = [new NetworkSpec()] });
        _ = await guest.RunAsync("/lib/systemd/systemd-networkd-wait-online --any --timeout=120");
        _ = await guest.RunAsync($"echo 'deb [trusted=yes] http://{Host}:{repository.Port}/ ./' >/etc/apt/sources.list");
        _ = await guest.RunAsync("apt-get update && apt-get install -y doppel-probe");
        Assert.Equal("from the host", await guest.RunAsync("cat /usr/share/doppel-probe"));
        Assert.Equal("install ok installed", await guest.RunAsync("dpkg-query -W -f '${Status}' doppel-probe"));
    }

    [Fact]
    public async Task A_gibibyte_goes_in_and_out_by_ssh()
    {
        SshIdentity identity = (await SshIdentity.EnsureAsync(new StateDirectory(_directory)))!;
        int port = FreePort();
        KeptMachine machine = system.NewMachine();
        await using SystemGuest guest = await SystemGuest.BootAsync(machine, new GuestSettings { HostName = "ssh", User = "anna", Keys = [identity.PublicKey] }, s => s with
        {
            Networks = [new NetworkSpec { Forwards = [new PortForward(IPAddress.Loopback, port, 22)] }],
        });
        _ = await guest.RunAsync("systemctl is-system-running --wait");
        string[] options = ["-i", identity.KeyPath, "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
        Assert.Equal("anna", await RunHostAsync("ssh", [.. options, "-p", $"{port}", "anna@127.0.0.1", "whoami"]));

        string sent = Path.Combine(_directory, "sent"), back = Path.Combine(_directory, "back");
        string sum = WriteRandom(sent, 1 << 30);
        _ = await RunHostAsync("scp", [.. options, "-P", $"{port}", sent, "root@127.0.0.1:/root/file"]);
        Assert.Equal(sum, (await guest.RunAsync("sha256sum /root/file")).Split(' ')[0]);
        _ = await guest.RunAsync("sync; echo 3 >/proc/sys/vm/drop_caches");
        _ = await RunHostAsync("scp", [.. options, "-P", $"{port}", "root@127.0.0.1:/root/file", back]);
        await using FileStream stream = File.OpenRead(back);
        Assert.Equal(sum, Convert.ToHexStringLower(await SHA256.HashDataAsync(stream)));
        await guest.ShutDownAsync();
    }

    private static string WriteRandom(string path, int length)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using FileStream file = File.Create(path);
        byte[] piece = new byte[1 << 20];
        for (int done = 0; done < length; done += piece.Length)
        {
            RandomNumberGenerator.Fill(piece);
            hash.AppendData(piece);
            file.Write(piece);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static async Task<string> RunHostAsync(string program, string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true })!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync().WaitAsync(SystemGuest.Patience);
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{program}: exit code {process.ExitCode}: {await errors}");
        return output.Trim();
    }

    /// <summary>A repository with one package, served over HTTP.</summary>
    private sealed class PackageRepository : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly Dictionary<string, byte[]> _files;

        internal PackageRepository(string directory)
        {
            string tree = Path.Combine(directory, "probe");
            _ = Directory.CreateDirectory(Path.Combine(tree, "DEBIAN"));
            _ = Directory.CreateDirectory(Path.Combine(tree, "usr", "share"));
            const string Control = "Package: doppel-probe\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a file\n";
            File.WriteAllText(Path.Combine(tree, "DEBIAN", "control"), Control);
            File.WriteAllText(Path.Combine(tree, "usr", "share", "doppel-probe"), "from the host\n");
            string package = Path.Combine(directory, "doppel-probe.deb");
            _ = RunHostAsync("dpkg-deb", ["--root-owner-group", "--build", tree, package]).GetAwaiter().GetResult();
            byte[] content = File.ReadAllBytes(package);
            string list = string.Create(CultureInfo.InvariantCulture, $"{Control}Filename: ./doppel-probe.deb\nSize: {content.Length}\nSHA256: {Convert.ToHexStringLower(SHA256.HashData(content))}\n\n");
            _files = new Dictionary<string, byte[]> { ["/./Packages"] = Encoding.UTF8.GetBytes(list), ["/Packages"] = Encoding.UTF8.GetBytes(list), ["/./doppel-probe.deb"] = content, ["/doppel-probe.deb"] = content };
            Port = FreePort();
            _listener.Prefixes.Add($"http://*:{Port}/");
            _listener.Start();
            _ = ServeAsync();
        }

        internal int Port { get; }

        public void Dispose() => _listener.Close();

        private async Task ServeAsync()
        {
            while (_listener.IsListening)
            {
                try
                {
                    HttpListenerContext context = await _listener.GetContextAsync();
                    if (_files.TryGetValue(context.Request.Url!.AbsolutePath, out byte[]? content))
                        await context.Response.OutputStream.WriteAsync(content);
                    else
                        context.Response.StatusCode = 404;
                    context.Response.Close();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    // The test ends, or the guest has hung up.
                }
            }
        }
    }
}
