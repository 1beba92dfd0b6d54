using System.Diagnostics;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Doppel.Bench;

/// <summary>A daemon with directories of its own, maybe in a network namespace.</summary>
internal sealed class BenchDaemon : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-b-").FullName;
    private const int Port = 7770;
    private readonly string _program;
    private readonly string? _address;
    private readonly Process _daemon;

    /// <summary>Starts it.</summary>
    /// <param name="program">The doppel command; the daemon is beside it.</param>
    /// <param name="networkNamespace">Where it runs; null for the host's network.</param>
    /// <param name="address">Its address there, on which it listens for other hosts; null for none.</param>
    public BenchDaemon(string program, string? networkNamespace, string? address)
    {
        _program = program;
        _address = address;
        string daemon = Path.Combine(Path.GetDirectoryName(program)!, "doppeld");
        string[] arguments = address is null ? [] : ["--listen", $"tls://{address}:{Port}"];
        _daemon = Process.Start(Environ(networkNamespace is null ? new ProcessStartInfo(daemon, arguments) : new ProcessStartInfo("ip", ["netns", "exec", networkNamespace, daemon, .. arguments])))!;
        if (_daemon.StandardOutput.ReadLine() != "ready")
        {
            throw new BenchException($"the daemon does not start: {_daemon.StandardError.ReadToEnd()}");
        }
    }

    /// <summary>What names it on the command line of another daemon's doppel migrate.</summary>
    public string[] Target
    {
        get
        {
            if (_address is null)
            {
                return [$"unix:{Path.Combine(_folder, "doppel", "doppeld")}"];
            }

            string keys = Path.Combine(_folder, "state", "doppel", "tls");
            using var certificate = X509Certificate2.CreateFromPem(File.ReadAllText(Path.Combine(keys, "cert.pem")));
            return [$"tls://{_address}:{Port}", "--token-file", Path.Combine(keys, "token"), "--fingerprint", certificate.GetCertHashString(HashAlgorithmName.SHA256)];
        }
    }

    /// <summary>The socket of its API.</summary>
    public string Socket => Path.Combine(_folder, "doppel", "doppeld");

    /// <summary>Runs the doppel command with it. Throws <see cref="BenchException"/> if that fails.</summary>
    public async Task<string> RunAsync(string[] arguments, CancellationToken cancel)
    {
        using Process process = Process.Start(Environ(new ProcessStartInfo(_program, arguments)))!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync(cancel);
        string output = await process.StandardOutput.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        return process.ExitCode == 0 ? output : throw new BenchException($"doppel {string.Join(' ', arguments)}: {(await errors).Trim()}");
    }

    /// <summary>Ends it with its machines.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            foreach (string folder in Directory.Exists(Machines) ? Directory.GetDirectories(Machines) : [])
            {
                _ = await RunAsync(["rm", "--force", Path.GetFileName(folder)], CancellationToken.None);
            }

            _ = await RunAsync(["daemon", "stop"], CancellationToken.None);
            await _daemon.WaitForExitAsync();
        }
        catch (BenchException)
        {
            Tool.Kill(_daemon);
        }

        _daemon.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private string Machines => Path.Combine(_folder, "state", "doppel", "machines");

    private ProcessStartInfo Environ(ProcessStartInfo info)
    {
        info.RedirectStandardInput = info.RedirectStandardOutput = info.RedirectStandardError = true;
        info.Environment["XDG_RUNTIME_DIR"] = _folder;
        info.Environment["XDG_STATE_HOME"] = Path.Combine(_folder, "state");
        return info;
    }
}
