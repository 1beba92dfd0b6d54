using System.Diagnostics;

namespace Doppel.Guests;

/// <summary>A disc with files and GRUB, by BIOS and by UEFI, as Debian's grub-mkrescue makes it. GRUB's words are on the screen and on the first serial port.</summary>
internal sealed class RescueDisc : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-disc-").FullName;

    /// <summary>Makes the disc.</summary>
    /// <param name="commands">What GRUB does.</param>
    /// <param name="files">Files at the disc's root, by name, with the files of the host that they are.</param>
    internal RescueDisc(string commands, params (string Name, string Source)[] files)
    {
        string root = Path.Combine(_folder, "disc"), grub = Path.Combine(root, "boot", "grub");
        _ = Directory.CreateDirectory(grub);
        File.WriteAllText(Path.Combine(grub, "grub.cfg"), $"serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n{commands}\n");
        foreach ((string name, string source) in files)
            File.Copy(source, Path.Combine(root, name));
        ImagePath = Path.Combine(_folder, "disc.iso");
        var start = new ProcessStartInfo("grub-mkrescue", ["-quiet", "-o", ImagePath, root]) { RedirectStandardError = true, RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        _ = process.StandardOutput.ReadToEndAsync();
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors);
    }

    /// <summary>The image.</summary>
    internal string ImagePath { get; }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
