using System.Diagnostics;

namespace Doppel.Cli.Tests;

/// <summary>A directory of their own for machines that a test starts; what still runs at its end is killed.</summary>
internal sealed class StartedMachines : IDisposable
{
    private readonly List<Process> _started = [];

    /// <summary>Where sockets and state go.</summary>
    internal string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("doppel-cli-").FullName;

    /// <summary>Watches over a process to the test's end.</summary>
    internal Process Add(Process process)
    {
        _started.Add(process);
        return process;
    }

    public void Dispose()
    {
        foreach (Process process in _started)
        {
            if (!process.HasExited)
                process.Kill();
            process.WaitForExit();
            process.Dispose();
        }

        System.IO.Directory.Delete(Directory, recursive: true);
    }
}
