using System.Diagnostics;

namespace Doppel.Cli.Tests;

/// <summary>Runs the built doppel command as a process.</summary>
internal static class Command
{
    internal static string Path { get; } = System.IO.Path.Combine(AppContext.BaseDirectory, "doppel");

    internal static CommandResult Run(string[] arguments, string input = "", string? cache = null, string? runtime = null, string? state = null)
    {
        using Process process = Start(arguments, cache, runtime, state);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return new CommandResult(process.ExitCode, output.Result, errors.Result);
    }

    internal static Process Start(string[] arguments, string? cache = null, string? runtime = null, string? state = null)
    {
        var info = new ProcessStartInfo(Path, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        info.Environment["XDG_CACHE_HOME"] = cache ?? "/nonexistent";
        if (runtime is not null)
            info.Environment["XDG_RUNTIME_DIR"] = runtime;
        info.Environment["XDG_STATE_HOME"] = state ?? "/nonexistent";
        _ = info.Environment.Remove("DOPPEL_DEBUG");
        return Process.Start(info)!;
    }
}
