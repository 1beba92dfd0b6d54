using System.Runtime.InteropServices;

namespace Doppel.Host.Processes;

/// <summary>Other processes of the host.</summary>
public static class HostProcess
{
    internal const int TerminateSignal = 15, NoSuchProcess = 3;

    /// <summary>Asks a process to end (SIGTERM); one that is gone is left alone.</summary>
    /// <exception cref="HostException">The process is another user's.</exception>
    public static void Terminate(int process)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(process);
        if (LibC.Kill(process, TerminateSignal) == -1 && Marshal.GetLastPInvokeError() != NoSuchProcess)
            HostError.Throw("kill", $"of process {process}");
    }
}
