using Doppel.Api;
using Doppel.Devices.Storage.Images;
using Doppel.Host;
using Doppel.Vmm;
using Doppel.Vmm.Boot;
using Doppel.Vmm.Images;
using Doppel.Vmm.Snapshots;

namespace Doppel.Cli;

/// <summary>Turns exceptions into one line and an exit code.</summary>
internal static class ErrorReport
{
    private const string DebugVariable = "DOPPEL_DEBUG";

    /// <summary>Runs a command; nothing leaves it but an exit code.</summary>
    internal static int Guard(Func<int> command)
    {
        try
        {
            return command();
        }
        catch (Exception e)
        {
            return Report(e);
        }
    }

    /// <summary>Prints the line for an exception.</summary>
    internal static int Report(Exception exception)
    {
        if (exception is AggregateException { InnerExceptions: [Exception only] })
            exception = only;
        int code = CodeOf(exception);
        if (code == ExitCode.BrokenPipe)
            return code;
        if (Environment.GetEnvironmentVariable(DebugVariable) == "1")
            Talk.Error(exception.ToString());
        else if (code == ExitCode.Internal)
            Talk.Error($"a fault of Doppel itself: {exception.GetType().Name}: {exception.Message} ({DebugVariable}=1 shows where)");
        else
            Talk.Error(exception.Message);
        return code;
    }

    private static int CodeOf(Exception exception) => exception switch
    {
        CliException e => e.ExitCode,
        ApiException { Status: 404 } => ExitCode.NoMachine,
        ApiException { Status: < 500 } => ExitCode.Usage,
        ApiException => ExitCode.Host,
        SpecException => ExitCode.Usage,
        BootException or DiskImageException or SnapshotException => ExitCode.Input,
        ImageException { Error: ImageError.Unknown } => ExitCode.Usage,
        ImageException => ExitCode.Image,
        OperationCanceledException => ExitCode.Signal + 2,
        HostException => ExitCode.Host,
        OutOfMemoryException => ExitCode.Host,
        IOException e when e.Message.Contains("Broken pipe", StringComparison.Ordinal) => ExitCode.BrokenPipe,
        IOException or UnauthorizedAccessException => ExitCode.Host,
        _ => ExitCode.Internal,
    };
}
