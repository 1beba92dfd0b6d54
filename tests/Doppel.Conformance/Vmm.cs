using System.Globalization;

namespace Doppel.Conformance;

/// <summary>How to start a kernel in a VMM.</summary>
/// <param name="Name">Name in the table and of the directory of the logs.</param>
/// <param name="File">The executable.</param>
/// <param name="Arguments">Its arguments for an entry, given the kernel and the number of processors.</param>
/// <param name="Refusal">Why the VMM cannot run an entry, or null.</param>
/// <param name="BuildsItself">Whether the executable is a script that builds on first use.</param>
internal sealed record Vmm(
    string Name, string File, Func<Entry, string, int, IEnumerable<string>> Arguments, Func<Entry, string?> Refusal, bool BuildsItself)
{
    // Bit 0 is set by the exit device itself; the rest is what the kernel wrote there.
    private const int ExitPassed = (0 << 1) | 1;
    private const int ExitFailed = (1 << 1) | 1;
    private const int ExitSkipped = (38 << 1) | 1;
    private const int ExitAborted = (63 << 1) | 1;

    /// <summary>QEMU with TCG.</summary>
    public static Vmm Qemu() => new(
        "qemu",
        "qemu-system-x86_64",
        (entry, kernel, processors) =>
        [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-accel", "tcg",
            "-device", "pc-testdev", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4", "-device", "pci-testdev",
            "-kernel", kernel, "-smp", processors.ToString(CultureInfo.InvariantCulture),
            .. entry.QemuOptions,
            .. entry.Arguments.Length > 0 ? (string[])["-append", entry.Arguments] : [],
        ],
        entry => entry.Accelerator is { } accelerator && accelerator != "tcg" ? $"for {accelerator} only"
            : entry.QemuOptions.Contains("-enable-kvm") || entry.Option("-cpu")?.Split(',')[0] == "host" ? "needs KVM's -cpu host"
            : null,
        false);

    /// <summary>Doppel with one of its engines.</summary>
    /// <param name="executable">The command.</param>
    /// <param name="engine">The engine.</param>
    /// <param name="environment">A file that says TEST_DEVICE=0, as for a run on hardware: see <see cref="AsOnHardware"/>.</param>
    public static Vmm Doppel(string executable, string engine, string environment) => new(
        engine,
        executable,
        (entry, kernel, processors) =>
        [
            "run", "--kernel", kernel, "--engine", engine, "--serial", "stdio", "--testdev", "--no-reboot",
            "--memory", Memory(entry),
            .. processors > 1 ? (string[])["--cpus", processors.ToString(CultureInfo.InvariantCulture)] : [],
            .. entry.Option("-cpu") is { } cpu && cpu.StartsWith("max", StringComparison.Ordinal) ? (string[])["--cpu", "x86-64-v3"] : [],
            .. AsOnHardware.Contains(entry.File) ? (string[])["--initrd", environment] : [],
            .. entry.Arguments.Length > 0 ? (string[])["--append", entry.Arguments] : [],
        ],
        RefusalOfDoppel,
        true);

    /// <summary>
    /// Kernels that ask KVM or AMD's rules of any machine with test devices: VMCALL as a hypercall, SYSCALL in
    /// compatibility mode on an Intel CPU. They are told that they run on hardware, and leave those assertions out.
    /// </summary>
    private static readonly string[] AsOnHardware = ["apic.flat", "syscall.flat"];

    private static string? RefusalOfDoppel(Entry entry)
    {
        string cpu = entry.Option("-cpu") ?? "";
        return cpu.Contains("+vmx", StringComparison.Ordinal) ? "the machine has no VMX"
            : cpu.Contains("+svm", StringComparison.Ordinal) ? "the machine has no SVM"
            : cpu.Contains("hv_passthrough", StringComparison.Ordinal) ? "the machine has no Hyper-V interface"
            : entry.QemuOptions.Contains("intel-iommu,intremap=on,eim=off") ? "the machine has no IOMMU"
            : entry.File == "vmware_backdoors.flat" ? "the machine has no VMware backdoor"
            : entry.Name == "vmexit_vmcall" ? "measures KVM's hypercall"
            : null;
    }

    /// <summary>What an exit status of the VMM means for the test; null if the kernel did not report.</summary>
    public static Ending? Meaning(int status) => status switch
    {
        ExitPassed => Ending.Passed,
        ExitFailed => Ending.Failed,
        ExitSkipped => Ending.Skipped,
        ExitAborted => Ending.Aborted,
        _ => null,
    };

    private static string Memory(Entry entry) => entry.Option("-m") is not { } size ? "128M"
        : char.IsDigit(size[^1]) ? size + "M" : size.ToUpperInvariant();
}
