using Doppel.Devices.Storage.Images;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Time;
using Doppel.Vmm.Images;
using Doppel.Vmm.Limits;
using Doppel.Vmm.Machines;
using Doppel.Vmm.Ssh;

namespace Doppel.Vmm;

/// <summary>What a virtual machine is made of. Immutable; checked when a machine is made from it.</summary>
public sealed record MachineSpec
{
    /// <summary>Largest RAM: 63 GiB, so that it ends at 64 GiB with the hole for memory-mapped I/O.</summary>
    public const ulong MaximumMemory = 63UL << 30;

    /// <summary>Smallest RAM: 1 MiB.</summary>
    public const ulong MinimumMemory = 1UL << 20;

    /// <summary>Most disks: one for each free slot of the PCI bus.</summary>
    public const int MaximumDisks = 20;

    /// <summary>Most network cards.</summary>
    public const int MaximumNetworks = 4;

    /// <summary>Most shared folders.</summary>
    public const int MaximumVolumes = 8;

    /// <summary>Most vCPUs.</summary>
    public const int MaximumCpus = 64;

    /// <summary>Fewest serial ports: COM1 and COM2.</summary>
    public const int SmallestSerialPorts = 2;

    /// <summary>Most serial ports: COM1 to COM4.</summary>
    public const int MaximumSerialPorts = 4;

    /// <summary>Longest name.</summary>
    public const int MaximumName = 64;

    /// <summary>What people call the machine; need not be unique. Letters, digits, dots, dashes and underscores, not only digits.</summary>
    public string Name { get; init; } = "machine";

    /// <summary>Number of vCPUs, 1 to <see cref="MaximumCpus"/>; more than the host has cores is allowed.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Processors of the host that its process may use, for example 0.5; null for all.</summary>
    public double? CpuCap { get; init; }

    /// <summary>What it gets of the host's processors where others want them, too, in proportion to their weights; in the background only. <see cref="CpuLimits.SmallestWeight"/> to <see cref="CpuLimits.LargestWeight"/>.</summary>
    public int CpuWeight { get; init; } = CpuLimits.DefaultWeight;

    /// <summary>Bytes of RAM: a multiple of 4096.</summary>
    public ulong Memory { get; init; } = 512UL << 20;

    /// <summary>True to allow more RAM than the host has: guest memory takes host memory only where it is touched.</summary>
    public bool Overcommit { get; init; }

    /// <summary>Name of the CPU model, for example "x86-64-v2".</summary>
    public string CpuModel { get; init; } = "x86-64-v2";

    /// <summary>Ticks of the TSC in a second where nothing else is said; the same on every host.</summary>
    public const ulong DefaultTscFrequency = HostClock.DefaultTscFrequency;

    /// <summary>
    /// Ticks of the guest's TSC in a second, 1 MHz to 16 GHz; null for <see cref="DefaultTscFrequency"/>, or under KVM for the
    /// host's own rate where its processor can't scale it. Stays the same for the machine's life.
    /// </summary>
    public ulong? TscFrequency { get; init; }

    /// <summary>Name of the execution engine, for example "interpreter"; <see cref="EngineNames.Auto"/> for the fastest that serves.</summary>
    public string Engine { get; init; } = EngineNames.Default;

    /// <summary>
    /// Host memory for translated code, or with the interpreter for each vCPU's decoded instructions: 1 MiB to 1 GiB, a
    /// multiple of 64 KiB. What does not fit is dropped and made again.
    /// </summary>
    public ulong CodeCache { get; init; } = TranslationCache.DefaultBytes;

    /// <summary>
    /// Address spaces whose translations each vCPU's software TLB keeps: 2, 4, 8 or 16. Each takes up to 450 KiB of host
    /// memory once the guest has used it.
    /// </summary>
    public int TlbSpaces { get; init; } = TlbSlot.MaximumCount;

    /// <summary>Path of the kernel: a Linux bzImage, an ELF file with a PVH entry, or a Multiboot image. Empty for none, when firmware boots from a device.</summary>
    public string Kernel { get; init; } = "";

    /// <summary>What starts the guest, and by that the board: without firmware there are only the parts that a kernel of today needs.</summary>
    public FirmwareKind Firmware { get; init; }

    /// <summary>Path of the firmware's ROM; null for the usual one.</summary>
    public string? FirmwareFile { get; init; }

    /// <summary>Path of the file that keeps UEFI's variables, made if there is none; null for variables that end with the machine.</summary>
    public string? FirmwareVariables { get; init; }

    /// <summary>From what firmware boots, the first first; what isn't named isn't booted from. Empty for the firmware's own order.</summary>
    public IReadOnlyList<BootDevice> BootOrder { get; init; } = [];

    /// <summary>True when firmware shows its boot menu for a while.</summary>
    public bool BootMenu { get; init; }

    /// <summary>Path of the initial RAM disk or Multiboot module; null for none.</summary>
    public string? Initrd { get; init; }

    /// <summary>The kernel's command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The disks, in the order in which the guest finds them; at most <see cref="MaximumDisks"/>.</summary>
    public IReadOnlyList<DiskSpec> Disks { get; init; } = [];

    /// <summary>Folders of the host that the guest sees, in the order in which it finds them; at most <see cref="MaximumVolumes"/>.</summary>
    public IReadOnlyList<VolumeSpec> Volumes { get; init; } = [];

    /// <summary>The network cards, in the order in which the guest finds them; at most <see cref="MaximumNetworks"/>.</summary>
    public IReadOnlyList<NetworkSpec> Networks { get; init; } = [];

    /// <summary>How SSH reaches the guest, for who asks the machine; null when it doesn't.</summary>
    public SshAccess? Ssh { get; init; }

    /// <summary>Sockets between host and guest; null for none.</summary>
    public VsockSpec? Vsock { get; init; }

    /// <summary>Where the guest finds its virtio devices. NVMe disks are PCI functions under either.</summary>
    public VirtioTransport VirtioTransport { get; init; }

    /// <summary>The display adapter.</summary>
    public DisplayAdapterKind Display { get; init; }

    /// <summary>With what the guest points at the display.</summary>
    public PointerKind Pointer { get; init; }

    /// <summary>On what it is typed to.</summary>
    public KeyboardKind Keyboard { get; init; }

    /// <summary>How VNC clients reach the display; null for not at all.</summary>
    public VncSpec? Vnc { get; init; }

    /// <summary>The display adapter that the machine really has.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public DisplayAdapterKind DisplayAdapter => (Display, Firmware) switch
    {
        (DisplayAdapterKind.Automatic, FirmwareKind.None) => DisplayAdapterKind.None,
        (DisplayAdapterKind.Automatic, _) => DisplayAdapterKind.Std,
        _ => Display,
    };

    /// <summary>Number of serial ports: <see cref="SmallestSerialPorts"/> to <see cref="MaximumSerialPorts"/>.</summary>
    public int SerialPorts { get; init; } = SmallestSerialPorts;

    /// <summary>Path of the file to which is added what the guest prints on its parallel port, made if there is none; null for a machine without that port.</summary>
    public string? Parallel { get; init; }

    /// <summary>True to add a virtio entropy device.</summary>
    public bool Entropy { get; init; }

    /// <summary>True to add a memory balloon: memory that the guest frees goes back to the host (<see cref="VirtualMachine.BalloonTarget"/> asks for more).</summary>
    public bool Balloon { get; init; }

    /// <summary>Where time comes from.</summary>
    public ClockKind Clock { get; init; } = ClockKind.Host;

    /// <summary>Seed of RDRAND and RDSEED, so that a run can be repeated; null for the host's random numbers, or seed 0 under <see cref="ClockKind.Instructions"/>.</summary>
    public ulong? RandomSeed { get; init; }

    /// <summary>True to add isa-debug-exit at port F4h and the ports of QEMU's pc-testdev.</summary>
    public bool TestDevices { get; init; }

    /// <summary>True when a reset boots the guest again; false ends the VM with <see cref="VmExitKind.Reset"/>.</summary>
    public bool RebootOnReset { get; init; } = true;

    /// <summary>True to watch the console for the last words of a Linux kernel, so that its crash ends the VM.</summary>
    public bool WatchForPanic { get; init; } = true;

    /// <summary>The specification of a guest from the image cache. What it writes to its root disk is thrown away at the end.</summary>
    public static MachineSpec ForImage(GuestImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        return new MachineSpec
        {
            Kernel = image.KernelPath,
            Initrd = image.DiskPath is null ? image.InitrdPath : null,
            CommandLine = image.Manifest.CommandLine,
            Disks = image.DiskPath is string disk
                ? [new DiskSpec { Path = disk, Format = DiskFormat.Raw, IsEphemeral = true, Interface = DiskInterface.Nvme }]
                : [],
        };
    }

    /// <summary>The specification of a machine that is kept between runs.</summary>
    public static MachineSpec ForMachine(KeptMachine machine)
    {
        ArgumentNullException.ThrowIfNull(machine);
        return new MachineSpec
        {
            Name = machine.Name,
            Kernel = machine.KernelPath,
            CommandLine = machine.Description.CommandLine,
            Disks = [new DiskSpec { Path = machine.BasePath, Format = DiskFormat.Raw, Overlay = machine.OverlayPath, Interface = DiskInterface.Nvme }],
        };
    }
}
