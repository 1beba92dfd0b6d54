using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using Doppel.Host.Processes;

namespace Doppel.Vmm.Images;

/// <summary>Runs a program of the host with an argument list, without a shell.</summary>
internal static class HostTool
{
    /// <summary>Finds a program in PATH; null when there is none.</summary>
    internal static string? Find(string program) => FindIn(Environment.GetEnvironmentVariable("PATH") ?? "", program);

    /// <summary>Finds a program in directories separated by colons; null when there is none.</summary>
    internal static string? FindIn(string directories, string program)
    {
        foreach (string directory in directories.Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            string path = Path.Combine(directory, program);
            if (File.Exists(path))
                return path;
        }

        return null;
    }

    /// <summary>Runs it and collects its errors.</summary>
    /// <param name="program">Name or path.</param>
    /// <param name="arguments">Arguments.</param>
    /// <param name="directory">Working directory; null for the present one.</param>
    /// <param name="line">Called for each line of output.</param>
    /// <param name="cancel">Kills the program.</param>
    /// <param name="errorLine">Called for each line of errors.</param>
    /// <param name="ends">True for a program that tidies up when it is asked to end: it is asked, and waited for.</param>
    internal static async Task<HostToolResult> RunAsync(
        string program, IEnumerable<string> arguments, string? directory, Action<string>? line, CancellationToken cancel, Action<string>? errorLine = null, bool ends = false)
    {
        using Process process = Start(program, arguments, directory);
        var errors = new StringBuilder();
        process.ErrorDataReceived += (_, e) =>
        {
            if (e.Data is null)
                return;
            _ = errors.AppendLine(e.Data);
            errorLine?.Invoke(e.Data);
        };
        process.OutputDataReceived += (_, e) =>
        {
            if (e.Data is not null)
                line?.Invoke(e.Data);
        };
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        process.StandardInput.Close();
        await WaitAsync(process, cancel, ends).ConfigureAwait(false);
        return new HostToolResult(process.ExitCode, errors.ToString());
    }

    /// <summary>Runs it as a filter: bytes in, bytes out.</summary>
    internal static async Task<HostToolResult> FilterAsync(string program, IEnumerable<string> arguments, Stream? input, Stream output, CancellationToken cancel)
    {
        using Process process = Start(program, arguments, null);
        Task<string> errors = process.StandardError.ReadToEndAsync(cancel);
        Task copy = process.StandardOutput.BaseStream.CopyToAsync(output, cancel);
        try
        {
            if (input is not null)
                await input.CopyToAsync(process.StandardInput.BaseStream, cancel).ConfigureAwait(false);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program ended early; its exit code says why.
        }

        await copy.ConfigureAwait(false);
        await WaitAsync(process, cancel).ConfigureAwait(false);
        return new HostToolResult(process.ExitCode, await errors.ConfigureAwait(false));
    }

    private static Process Start(string program, IEnumerable<string> arguments, string? directory)
    {
        var info = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory ?? "",
        };
        foreach (string argument in arguments)
            info.ArgumentList.Add(argument);
        info.Environment["LC_ALL"] = "C";
        try
        {
            return Process.Start(info)!;
        }
        catch (Win32Exception e)
        {
            throw new ImageException(ImageError.Host, $"{program} can't be started: {e.Message}", e);
        }
    }

    private static async Task WaitAsync(Process process, CancellationToken cancel, bool ends = false)
    {
        try
        {
            await process.WaitForExitAsync(cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            if (ends)
                HostProcess.Terminate(process.Id);
            else
                process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }
}
