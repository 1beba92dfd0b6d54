using System.Diagnostics;

namespace Doppel.Host.Tests;

/// <summary>Asks the C compiler for the values of expressions, so that mirrored constants are those of the system's headers.</summary>
internal static class CCompiler
{
    /// <summary>Compiles and runs a program that prints the expressions, in order.</summary>
    internal static long[] Evaluate(string includes, params string[] expressions)
    {
        string folder = Directory.CreateTempSubdirectory("doppel-c").FullName;
        try
        {
            string source = Path.Combine(folder, "values.c"), program = Path.Combine(folder, "values");
            string lines = string.Concat(expressions.Select(e => $"printf(\"%lld\\n\", (long long)({e}));\n"));
            string headers = string.Concat(includes.Split(' ').Select(h => $"#include <{h}>\n"));
            File.WriteAllText(source, $"#define _GNU_SOURCE\n#include <stdio.h>\n#include <stddef.h>\n{headers}int main(void) {{\n{lines}return 0; }}\n");
            _ = Run("cc", "-o", program, source);
            return [.. Run(program).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(long.Parse)];
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Run(string file, params string[] arguments)
    {
        var start = new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{file}: {errors.Result}");
        return output;
    }
}
