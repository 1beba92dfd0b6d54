using System.Diagnostics;

namespace Doppel.Bench;

/// <summary>A daemon with directories of its own, maybe in a network namespace.</summary>
internal sealed class BenchDaemon : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-b-").FullName;
    private readonly string _program;
    private readonly Process _daemon;

    /// <summary>Starts it.</summary>
    /// <param name="program">The doppel command; the daemon is beside it.</param>
    /// <param name="networkNamespace">Where it runs; null for the host's network.</param>
    public BenchDaemon(string program, string? networkNamespace)
    {
        _program = program;
        string daemon = Path.Combine(Path.GetDirectoryName(program)!, "doppeld");
        _daemon = Process.Start(Environ(networkNamespace is null ? new ProcessStartInfo(daemon) : new ProcessStartInfo("ip", ["netns", "exec", networkNamespace, daemon])))!;
        if (_daemon.StandardOutput.ReadLine() != "ready")
        {
            throw new BenchException($"the daemon does not start: {_daemon.StandardError.ReadToEnd()}");
        }
    }

    /// <summary>Its socket.</summary>
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
