using System.Diagnostics;

namespace Doppel.Guests;

/// <summary>The program in docs/library.md does what the page says.</summary>
[Collection("Debian")]
public sealed class DocumentationTests(DebianImage debian)
{
    [Fact]
    public void The_program_in_the_librarys_documentation_compiles_and_boots_a_guest()
    {
        string page = File.ReadAllText(Path.Combine(Repository(), "docs", "library.md"));
        int start = page.IndexOf("```csharp\n", StringComparison.Ordinal) + 10;
        string program = page[start..page.IndexOf("```", start, StringComparison.Ordinal)];
        string directory = Directory.CreateTempSubdirectory("doppel-doc-").FullName;
        try
        {
            string references = string.Concat(Directory.EnumerateFiles(AppContext.BaseDirectory, "*.dll")
                .Where(f => Path.GetFileName(f) is "Iced.dll" || (Path.GetFileName(f).StartsWith("Doppel.", StringComparison.Ordinal) && !Path.GetFileName(f).Contains("Guests", StringComparison.Ordinal)))
                .Select(f => $"<Reference Include=\"{f}\" />"));
            File.WriteAllText(Path.Combine(directory, "program.csproj"), $"<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType><TargetFramework>net10.0</TargetFramework><ImplicitUsings>enable</ImplicitUsings><Nullable>enable</Nullable><UseArtifactsOutput>false</UseArtifactsOutput></PropertyGroup><ItemGroup>{references}</ItemGroup></Project>");
            File.WriteAllText(Path.Combine(directory, "Program.cs"), program);
            (int code, string output) = Run("dotnet", "run", "--project", directory);
            Assert.True(code == 0, output);
            Assert.Contains($"the guest runs Linux {debian.Image.Manifest.KernelVersion}", output, StringComparison.Ordinal);
            Assert.Contains("it ended: PowerOff", output, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        var info = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        // What the test runner tells MSBuild by environment concerns its own projects.
        foreach (string name in info.Environment.Keys.Where(k => k.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
            _ = info.Environment.Remove(name);
        using Process process = Process.Start(info)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    private static string Repository()
    {
        string directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Doppel.slnx")))
            directory = Path.GetDirectoryName(directory)!;
        return directory;
    }
}
