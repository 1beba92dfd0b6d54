using System.Diagnostics;

namespace Doppel.Cli.Commands.Machines;

/// <summary>Kills this process at a step of a migration, for tests of what follows: DOPPEL_CRASH=SIDE:STEP.</summary>
internal static class CrashPoint
{
    private const string Variable = "DOPPEL_CRASH";

    /// <summary>What is told of the steps of a side; null when this process isn't to die there.</summary>
    internal static Action<string>? Of(string side)
    {
        if (Environment.GetEnvironmentVariable(Variable)?.Split(':') is not [string where, string at] || where != side)
            return null;
        return step =>
        {
            if (step != at)
                return;
            using var self = Process.GetCurrentProcess();
            self.Kill();
            // The signal ends this thread, too.
            Thread.Sleep(Timeout.Infinite);
        };
    }
}
