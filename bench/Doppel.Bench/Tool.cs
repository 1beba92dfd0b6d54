using System.ComponentModel;
using System.Diagnostics;

namespace Doppel.Bench;

/// <summary>Starts other programs.</summary>
internal static class Tool
{
    /// <summary>Starts a process with all three streams redirected. Throws <see cref="BenchException"/> if it cannot be started.</summary>
    public static Process Start(string file, IEnumerable<string> arguments)
    {
        var info = new ProcessStartInfo(file, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            return Process.Start(info) ?? throw new BenchException($"{file} did not start");
        }
        catch (Win32Exception e)
        {
            throw new BenchException($"{file} cannot be started: {e.Message}");
        }
    }

    /// <summary>Runs a program to its end. Throws <see cref="BenchException"/> with its error output if it fails.</summary>
    public static async Task RunAsync(string file, IEnumerable<string> arguments, CancellationToken cancel)
    {
        using Process process = Start(file, arguments);
        process.StandardInput.Close();
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(cancel);
            string errors = await process.StandardError.ReadToEndAsync(cancel);
            await output;
            await process.WaitForExitAsync(cancel);
            if (process.ExitCode != 0)
            {
                throw new BenchException($"{file} failed with status {process.ExitCode}:\n{errors}");
            }
        }
        finally
        {
            Kill(process);
        }
    }

    /// <summary>Ends a process that may have ended already, with its children.</summary>
    public static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (InvalidOperationException)
        {
            // It has ended.
        }
    }
}
