using System.CommandLine;
using Doppel.Vmm;
using Doppel.Vmm.Images;

namespace Doppel.Cli.Commands;

/// <summary>The options of doppel run about what starts the guest.</summary>
internal sealed class FirmwareOptions
{
    private const string BootChoices = "disk, cd, floppy and net, separated by commas, with menu for the boot menu";
    private readonly Option<string?> _firmware = new("--firmware") { Description = "What starts the guest: bios, uefi, or none for a kernel that is entered directly [default: bios when there are only disks, else none].", HelpName = "KIND" };
    private readonly Option<string?> _bios = new("--bios") { Description = "A ROM in place of SeaBIOS; it ends at 4 GiB and at 1 MiB.", HelpName = "ROM" };
    private readonly Option<string?> _boot = new("--boot") { Description = $"From what firmware boots, in this order: {BootChoices}.", HelpName = "DEVICES" };

    internal FirmwareOptions()
    {
        _firmware.CompletionSources.Add("bios", "uefi", "none");
        _boot.CompletionSources.Add("disk", "cd", "floppy", "net", "menu");
    }

    /// <summary>The options in the order of the help.</summary>
    internal IEnumerable<Option> All => [_firmware, _bios, _boot];

    /// <summary>Enters them into a specification.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="spec">The machine so far.</param>
    /// <param name="hasImage">True when an image is named, which has a kernel.</param>
    /// <exception cref="CliException">A value is wrong.</exception>
    internal MachineSpec Enter(ParseResult result, MachineSpec spec, bool hasImage)
    {
        string? file = result.GetValue(_bios);
        string? boot = result.GetValue(_boot);
        string? text = result.GetValue(_firmware);
        FirmwareKind kind = text switch
        {
            null when file is not null || boot is not null => FirmwareKind.Bios,
            null => spec.Kernel.Length == 0 && !hasImage && spec.Disks.Count != 0 ? FirmwareKind.Bios : FirmwareKind.None,
            "none" => FirmwareKind.None,
            "bios" => FirmwareKind.Bios,
            "uefi" => FirmwareKind.Uefi,
            _ => throw new CliException(ExitCode.Usage, $"--firmware {text}: bios, uefi or none would be right"),
        };
        if (kind == FirmwareKind.None && (file is not null || boot is not null))
            throw new CliException(ExitCode.Usage, $"{(file is not null ? "--bios" : "--boot")} is for a machine with firmware; without --firmware none it would be right");
        if (kind == FirmwareKind.Uefi && file is not null)
            throw new CliException(ExitCode.Usage, "--bios is for a BIOS; without --firmware uefi it would be right");
        (IReadOnlyList<BootDevice> order, bool menu) = ReadBoot(boot);
        return spec with { Firmware = kind, FirmwareFile = file is null ? null : Path.GetFullPath(file), BootOrder = order, BootMenu = menu };
    }

    /// <summary>Fetches the firmware's package if neither the host nor the user's cache has its files.</summary>
    /// <exception cref="ImageException">It can't be had.</exception>
    internal static void Fetch(MachineSpec spec)
    {
        FirmwareCache cache = FirmwareCache.ForUser();
        if (FirmwareCache.PackageOf(spec.Firmware) is null || spec.FirmwareFile is not null || cache.Find(spec.Firmware) is not null || !AptPackageSource.IsAvailable)
            return;
        using var progress = new ProgressLine();
        cache.PullAsync(spec.Firmware, directory => new AptPackageSource(Path.Combine(directory, "apt")), progress, CancellationToken.None).GetAwaiter().GetResult();
    }

    private static (IReadOnlyList<BootDevice> Order, bool Menu) ReadBoot(string? text)
    {
        var order = new List<BootDevice>();
        bool menu = false;
        foreach (string word in text?.Split(',') ?? [])
        {
            BootDevice? device = word switch
            {
                "disk" => BootDevice.Disk,
                "cd" => BootDevice.Cd,
                "floppy" => BootDevice.Floppy,
                "net" => BootDevice.Net,
                _ => null,
            };
            if (device is BootDevice found && !order.Contains(found))
                order.Add(found);
            else if (word == "menu" && !menu)
                menu = true;
            else
                throw new CliException(ExitCode.Usage, $"--boot {text}: {(word.Length == 0 ? "\"\"" : word)}: {BootChoices} would be right, each once");
        }

        return (order, menu);
    }
}
