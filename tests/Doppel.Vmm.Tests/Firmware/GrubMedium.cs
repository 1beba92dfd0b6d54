using System.Diagnostics;

namespace Doppel.Vmm.Tests.Firmware;

/// <summary>A medium that boots GRUB by BIOS. Its words are on the screen, and it is typed to on the first serial port, which SeaBIOS takes for a keyboard, too.</summary>
internal sealed class GrubMedium : IDisposable
{
    private const string Library = "/usr/lib/grub/i386-pc";
    private const int DiskLength = 4 << 20, DisketteLength = 1440 << 10;

    // Its normal mode would clear the screen.
    private static readonly string[] RescueModules = ["biosdisk", "echo", "minicmd", "boot", "chain", "lsacpi"];

    private static readonly string[] Modules = [.. RescueModules, "serial", "terminal", "normal", "linux", "ls", "reboot", "halt", "configfile", "test", "acpi", "lspci", "hexdump"];

    private readonly string _folder = Directory.CreateTempSubdirectory("doppel-grub-").FullName;

    private GrubMedium(string name) => ImagePath = Path.Combine(_folder, name);

    /// <summary>The image.</summary>
    internal string ImagePath { get; }

    /// <summary>A disk: a boot sector with GRUB's core behind it, as its installer lays them.</summary>
    /// <param name="commands">What GRUB does before its rescue prompt.</param>
    internal static GrubMedium Disk(params string[] commands) => Make("disk.img", medium => medium.WriteDisk(medium.ImagePath, DiskLength, RescueModules, commands));

    /// <summary>A disk whose GRUB talks on the first serial port, with all its commands.</summary>
    /// <param name="commands">What GRUB does before its prompt.</param>
    internal static GrubMedium SerialDisk(params string[] commands) => Make("disk.img", medium =>
        medium.WriteDisk(medium.ImagePath, DiskLength, Modules, ["serial --unit=0 --speed=115200", "terminal_input serial", "terminal_output serial", .. commands]));

    /// <summary>A diskette.</summary>
    /// <inheritdoc cref="Disk"/>
    internal static GrubMedium Diskette(params string[] commands) => Make("floppy.img", medium => medium.WriteDisk(medium.ImagePath, DisketteLength, RescueModules, commands));

    /// <summary>A disc whose boot program is loaded as it is (El Torito, no emulation).</summary>
    /// <inheritdoc cref="Disk"/>
    internal static GrubMedium Disc(params string[] commands) => Make("disc.iso", medium =>
    {
        string files = medium.MakeFolder();
        medium.MakeCore("i386-pc-eltorito", Path.Combine(files, "core.img"), ["iso9660", .. RescueModules], commands);
        medium.WriteDisc(files, "-b", "core.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table");
    });

    /// <summary>A disc that shows a diskette as drive A: (El Torito, floppy emulation).</summary>
    /// <inheritdoc cref="Disk"/>
    internal static GrubMedium DiscWithDiskette(params string[] commands) => Make("disc.iso", medium =>
    {
        string files = medium.MakeFolder();
        medium.WriteDisk(Path.Combine(files, "boot.img"), DisketteLength, RescueModules, commands);
        medium.WriteDisc(files, "-b", "boot.img");
    });

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static GrubMedium Make(string name, Action<GrubMedium> write)
    {
        var medium = new GrubMedium(name);
        try
        {
            write(medium);
            return medium;
        }
        catch
        {
            medium.Dispose();
            throw;
        }
    }

    private string MakeFolder() => Directory.CreateDirectory(Path.Combine(_folder, "files")).FullName;

    private void WriteDisk(string path, int length, string[] modules, string[] commands)
    {
        string core = Path.Combine(_folder, "core.img");
        MakeCore("i386-pc", core, modules, commands);
        using FileStream disk = File.Create(path);
        disk.Write(File.ReadAllBytes(Path.Combine(Library, "boot.img")));
        disk.Write(File.ReadAllBytes(core));
        Assert.True(disk.Length <= length, $"GRUB has {disk.Length} bytes");
        disk.SetLength(length);
    }

    private void MakeCore(string format, string path, IEnumerable<string> modules, string[] commands)
    {
        string script = Path.Combine(_folder, "early.cfg");
        File.WriteAllLines(script, commands);
        Run("grub-mkimage", ["-O", format, "-d", Library, "-p", "(hd0)", "-c", script, "-o", path, .. modules]);
    }

    private void WriteDisc(string files, params string[] options) => Run("xorriso", ["-as", "mkisofs", "-quiet", "-o", ImagePath, "-c", "boot.cat", .. options, files]);

    private static void Run(string program, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardError = true };
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        using Process process = Process.Start(start)!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors);
    }
}
