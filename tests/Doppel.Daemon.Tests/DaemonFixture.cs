using System.Diagnostics;
using Doppel.Api;
using Doppel.Host.Files;
using Doppel.Vmm;
using Doppel.Vmm.Control;

namespace Doppel.Daemon.Tests;

/// <summary>A daemon of its own for one test, with directories of its own and workers that are ended with it.</summary>
public sealed class DaemonFixture : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-d-").FullName;

    private const string Spares = "--spares";
    private string[] _arguments;
    private (string Name, string Value)? _variable;

    internal DaemonFixture(params string[] arguments)
        : this(null, arguments)
    {
    }

    /// <summary>The same with one more variable in its environment.</summary>
    internal DaemonFixture((string Name, string Value)? variable, params string[] arguments)
    {
        // Workers that wait for a machine would take the processors from other tests.
        _arguments = arguments.Contains(Spares) ? arguments : [.. arguments, Spares, "0"];
        _variable = variable;
        Location = new DaemonLocation(new ControlDirectory(Path.Combine(_folder, "doppel")), new StateDirectory(Path.Combine(_folder, "state", "doppel")));
        Client = new DaemonClient(Location.Socket);
        Kernel = Path.Combine(_folder, "kernel");
        File.WriteAllBytes(Kernel, EchoGuest.Image);
        Daemon = StartDaemon();
        _variable = null;
    }

    internal DaemonLocation Location { get; }

    internal DaemonClient Client { get; }

    internal string Kernel { get; }

    internal Process Daemon { get; private set; }

    internal MachineSpec Spec(string name) => new() { Name = name, Kernel = Kernel, Memory = 16 << 20, Engine = EngineNames.Interpreter };

    internal MachineFolder Folder(string name) => new(Location.State, name);

    /// <summary>Starts the daemon again.</summary>
    internal void Restart() => Daemon = StartDaemon();

    /// <summary>The same with one more variable in its environment.</summary>
    internal void RestartWith(string variable, string value)
    {
        _variable = (variable, value);
        Restart();
        _variable = null;
    }

    /// <summary>The same without arguments.</summary>
    internal void RestartPlain()
    {
        _arguments = [Spares, "0"];
        Restart();
    }

    /// <summary>Waits until so many workers wait for a machine.</summary>
    internal async Task WaitForSparesAsync(int count)
    {
        while ((await Client.GetDaemonAsync(default)).Spares != count)
            await Task.Delay(50);
    }

    /// <summary>Starts a daemon that must fail.</summary>
    internal (int Code, string Errors) TryStart(string[] arguments)
    {
        using Process process = Process.Start(Environ(new ProcessStartInfo(Program("doppeld"), arguments)))!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, errors);
    }

    /// <summary>Runs the doppel command beside this daemon.</summary>
    internal (int Code, string Output, string Errors) Doppel(string[] arguments, string input = "")
    {
        using Process process = Process.Start(Environ(new ProcessStartInfo(Program("doppel"), arguments)))!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), errors = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return (process.ExitCode, output.Result, errors.Result);
    }

    /// <summary>The serial console of a machine: sends a byte and waits for the answer.</summary>
    internal async Task<char> EchoAsync(string name, char sent, string? socket = null)
    {
        using ControlClient client = await ControlClient.ConnectAsync(socket ?? (await Client.GetAsync(name, default)).Socket!);
        Stream console = await client.AttachConsoleAsync();
        await console.WriteAsync(new[] { (byte)sent });
        byte[] answer = new byte[1];
        // What the console remembers comes first.
        while (await console.ReadAsync(answer) == 1 && answer[0] != sent + 1)
        {
        }

        return (char)answer[0];
    }

    public async ValueTask DisposeAsync()
    {
        if (Daemon.HasExited)
            Restart();
        foreach (MachineView machine in await Client.ListAsync(default))
            await Client.RemoveAsync(machine.Name, force: true, default);
        await Client.StopDaemonAsync(default);
        // Another than the first may have been started by a command.
        FileLock.Take(Location.LockPath).Dispose();
        await Daemon.WaitForExitAsync();
        Client.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static string Program(string name) => Path.Combine(AppContext.BaseDirectory, name);

    private ProcessStartInfo Environ(ProcessStartInfo info)
    {
        info.RedirectStandardInput = info.RedirectStandardOutput = info.RedirectStandardError = true;
        info.Environment["XDG_RUNTIME_DIR"] = _folder;
        info.Environment["XDG_STATE_HOME"] = Path.Combine(_folder, "state");
        if (_variable is (string name, string value))
            info.Environment[name] = value;
        _ = info.Environment.Remove("DOPPEL_DAEMON");
        _ = info.Environment.Remove("DOPPEL_WORKER");
        return info;
    }

    private Process StartDaemon()
    {
        Process daemon = Process.Start(Environ(new ProcessStartInfo(Program("doppeld"), _arguments)))!;
        string? line = daemon.StandardOutput.ReadLine();
        if (line != DaemonLocation.Ready)
            Assert.Fail($"the daemon says {line}; {daemon.StandardError.ReadToEnd()}");
        return daemon;
    }
}
