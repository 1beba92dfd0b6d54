using System.Diagnostics;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>A disk that boots GRUB by BIOS: its boot sector with its core behind it, as its installer lays them.</summary>
internal sealed class GrubDisk : IDisposable
{
    private const string Modules = "/usr/lib/grub/i386-pc";
    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-grub-").FullName;

    /// <summary>Makes the disk.</summary>
    /// <param name="commands">What GRUB does before its prompt, which is on the first serial port.</param>
    internal GrubDisk(params string[] commands)
    {
        string script = Path.Combine(_folder, "early.cfg"), core = Path.Combine(_folder, "core.img");
        File.WriteAllLines(script, ["serial --unit=0 --speed=115200", "terminal_input serial", "terminal_output serial", .. commands]);
        var start = new ProcessStartInfo("grub-mkimage") { RedirectStandardError = true };
        foreach (string argument in (string[])["-O", "i386-pc", "-d", Modules, "-p", "(hd0)", "-c", script, "-o", core, "biosdisk", "serial", "terminal", "echo", "normal", "linux", "ls", "reboot", "halt", "minicmd", "configfile", "test", "chain", "acpi", "lsacpi", "lspci", "hexdump"])
            start.ArgumentList.Add(argument);
        using Process make = Process.Start(start)!;
        string errors = make.StandardError.ReadToEnd();
        make.WaitForExit();
        Assert.True(make.ExitCode == 0, errors);
        ImagePath = Path.Combine(_folder, "disk.img");
        using FileStream disk = File.Create(ImagePath);
        disk.Write(File.ReadAllBytes(Path.Combine(Modules, "boot.img")));
        disk.Write(File.ReadAllBytes(core));
        disk.SetLength(4 << 20);
    }

    /// <summary>The image.</summary>
    internal string ImagePath { get; }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
