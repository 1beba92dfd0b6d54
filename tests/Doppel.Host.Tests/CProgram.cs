using System.Diagnostics;
using Xunit.Sdk;

namespace Doppel.Host.Tests;

/// <summary>Asks the C compiler for the values of expressions, which mirrored constants and layouts must match.</summary>
internal static class CProgram
{
    /// <summary>Compiles and runs a program that prints each expression as a decimal number.</summary>
    internal static long[] Evaluate(string[] headers, string[] expressions)
    {
        string directory = Directory.CreateTempSubdirectory("doppel-c-").FullName;
        try
        {
            string source = Path.Combine(directory, "p.c"), program = Path.Combine(directory, "p");
            File.WriteAllText(
                source,
                "#define _GNU_SOURCE\n#include <stdio.h>\n#include <stddef.h>\n"
                + string.Concat(headers.Select(h => $"#include <{h}>\n"))
                + "int main(void) {\n"
                + string.Concat(expressions.Select(e => $"printf(\"%lld\\n\", (long long)({e}));\n"))
                + "return 0; }\n");
            _ = Run("cc", "-o", program, source);
            return [.. Run(program).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(long.Parse)];
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new XunitException($"{program}: {errors.Result}");
    }
}
