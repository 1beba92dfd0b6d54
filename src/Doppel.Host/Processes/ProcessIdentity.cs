using System.Runtime.InteropServices;

namespace Doppel.Host.Processes;

/// <summary>This process and others of the host.</summary>
public static partial class HostProcess
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

    /// <summary>Tells this boot of the host from all others.</summary>
    public static string BootId { get; } = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();

    /// <summary>Leaves the terminal and the process group of whoever started this process (setsid(2)): their signals don't come any more. Nothing happens when it has left already.</summary>
    public static void LeaveTerminal() => _ = StartSession();

    /// <summary>
    /// When a process was started, in clock ticks since the host's boot: with its number it tells it from a later one of the
    /// same number.
    /// </summary>
    /// <returns>Null when there is no such process.</returns>
    public static ulong? StartOf(int process)
    {
        try
        {
            // The second field, the name in parentheses, may hold anything (proc(5), /proc/pid/stat).
            string line = File.ReadAllText(FormattableString.Invariant($"/proc/{process}/stat"));
            string[] fields = line[(line.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] == "Z" ? null : ulong.Parse(fields[19], System.Globalization.CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "setsid", SetLastError = true)]
    private static partial int StartSession();
}
