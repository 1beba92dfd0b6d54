using Doppel.Vmm.Images;

namespace Doppel.Bench;

/// <summary>What is run: the programs, built here, and the initrd that holds them.</summary>
/// <param name="Program">The static executable with every program of bench/programs.</param>
/// <param name="Busybox">A static busybox of the host.</param>
/// <param name="Data">Directory with the files text and text.xz.</param>
/// <param name="Initrd">The initial file system with all of that and guest/init as its /init.</param>
internal sealed record GuestFiles(string Program, string Busybox, string Data, string Initrd)
{
    private const uint Executable = 0x1ED;

    /// <summary>Compiles and packs into <paramref name="output"/>, with the modules of an initrd if one is named. Throws <see cref="BenchException"/> if a tool is missing or fails.</summary>
    public static async Task<GuestFiles> BuildAsync(string bench, string output, string busybox, string? moduleInitrd, CancellationToken cancel)
    {
        if (!File.Exists(busybox))
        {
            throw new BenchException($"there is no busybox at {busybox}: install Debian's busybox-static, or name another one by --busybox");
        }

        string data = Path.Combine(output, "data");
        Directory.CreateDirectory(data);
        string program = Path.Combine(output, "bench");
        string[] sources = Directory.GetFiles(Path.Combine(bench, "programs"), "*.c");
        Array.Sort(sources, StringComparer.Ordinal);
        await Tool.RunAsync("gcc", ["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, .. sources], cancel);

        string text = Path.Combine(data, "text");
        await File.WriteAllBytesAsync(text, SampleText.Make(), cancel);
        await Tool.RunAsync("xz", ["--keep", "--force", "--threads=1", text], cancel);

        string initrd = Path.Combine(output, "initrd.cpio");
        using FileStream stream = File.Create(initrd);
        using var archive = new CpioWriter(stream);
        foreach (string directory in new[] { "bin", "dev", "proc", "data" })
        {
            archive.AddDirectory(directory);
        }

        archive.AddCharacterDevice("dev/console", 5, 1);
        archive.AddCharacterDevice("dev/null", 1, 3);
        foreach (string script in Directory.GetFiles(Path.Combine(bench, "guest")))
        {
            archive.AddFile(Path.GetFileName(script), await File.ReadAllBytesAsync(script, cancel), Executable);
        }

        archive.AddFile("bench", await File.ReadAllBytesAsync(program, cancel), Executable);
        archive.AddFile("bin/busybox", await File.ReadAllBytesAsync(busybox, cancel), Executable);
        if (moduleInitrd is not null)
        {
            archive.AddDirectory("modules");
            foreach ((string name, byte[] content) in GuestModules.Read(moduleInitrd))
            {
                archive.AddFile($"modules/{name}", content);
            }
        }

        archive.AddFile("data/text", await File.ReadAllBytesAsync(text, cancel));
        archive.AddFile("data/text.xz", await File.ReadAllBytesAsync(text + ".xz", cancel));
        return new GuestFiles(program, busybox, data, initrd);
    }
}
