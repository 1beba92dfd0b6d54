using System.Runtime.InteropServices;

namespace Doppel.Host.Threads;

/// <summary>
/// A signal that does nothing but end the system call in which a thread waits (EINTR). The handler is a function of the C
/// library without effect, since no managed code may run in one.
/// </summary>
public static unsafe class ThreadSignal
{
    /// <summary>The signal: a real-time one behind that of the .NET runtime, which takes the first.</summary>
    public const int Number = 40;

    private static readonly Lazy<bool> Installed = new(Install);

    /// <summary>Prepares the calling thread's process for <see cref="Interrupt"/>. Once is enough; more do no harm.</summary>
    /// <returns>The number of the calling thread.</returns>
    /// <exception cref="HostException">The host refuses.</exception>
    public static int Prepare()
    {
        _ = Installed.Value;
        return ThreadCalls.GetThread();
    }

    /// <summary>Ends the system call of a thread of this process. Nothing happens to one that is in none, or has ended.</summary>
    /// <param name="thread">What <see cref="Prepare"/> returned there.</param>
    public static void Interrupt(int thread) => _ = ThreadCalls.Signal(Environment.ProcessId, thread, Number);

    private static bool Install()
    {
        nint harmless = NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "abs");
        // Without SA_RESTART: the call has to end.
        var action = new SignalAction { Handler = harmless };
        _ = HostError.Check(ThreadCalls.SetAction(Number, &action, null), "sigaction", $"of signal {Number}");
        return true;
    }
}
