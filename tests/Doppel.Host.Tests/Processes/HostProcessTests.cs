using System.Diagnostics;
using Doppel.Host.Processes;

namespace Doppel.Host.Tests.Processes;

public sealed class HostProcessTests
{
    [Fact]
    public void Constants_are_those_of_the_c_compiler() =>
        Assert.Equal(CProgram.Evaluate(["signal.h", "errno.h"], ["SIGTERM", "ESRCH"]), (long[])[HostProcess.TerminateSignal, HostProcess.NoSuchProcess]);

    [Fact]
    public void A_process_is_asked_to_end_and_one_that_is_gone_is_left_alone()
    {
        using Process process = Process.Start("sleep", "600");
        HostProcess.Terminate(process.Id);
        process.WaitForExit();
        Assert.Equal(128 + HostProcess.TerminateSignal, process.ExitCode);
        HostProcess.Terminate(process.Id);
    }
}
