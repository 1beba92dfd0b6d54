using Doppel.Machine.Bus;

namespace Doppel.Vmm.Firmware;

/// <summary>What the firmware tables tell a guest about its machine. Must be what the machine really has.</summary>
public sealed record MachineLayout
{
    /// <summary>Number of vCPUs, 1 to 255; their APIC ids are 0 to the number less one.</summary>
    public int CpuCount { get; init; } = 1;

    /// <summary>CPUID.1:EAX of the vCPUs.</summary>
    public uint CpuSignature { get; init; }

    /// <summary>CPUID.1:EDX of the vCPUs.</summary>
    public uint CpuFeatures { get; init; }

    /// <summary>Name of the CPU model.</summary>
    public string CpuName { get; init; } = "Doppel virtual CPU";

    /// <summary>Rate of the TSC in MHz.</summary>
    public int CpuMegahertz { get; init; } = 1000;

    /// <summary>APIC id of the IOAPIC, 0 to 15.</summary>
    public byte IoApicId { get; init; }

    /// <summary>Number of serial ports, 0 to 4.</summary>
    public int SerialPorts { get; init; } = 2;

    /// <summary>True when there is a parallel port at its usual place.</summary>
    public bool HasParallelPort { get; init; }

    /// <summary>True when a keyboard and a mouse are behind an 8042, so that a guest should look for them.</summary>
    public bool HasKeyboardController { get; init; }

    /// <summary>True when a guest may use VGA registers and text memory.</summary>
    public bool HasVga { get; init; }

    /// <summary>True when the generation identifier is in its page of the BIOS area, which firmware would use for itself.</summary>
    public bool HasGeneration { get; init; } = true;

    /// <summary>True when there is an HPET at its usual place.</summary>
    public bool HasHpet { get; init; }

    /// <summary>True when there is a diskette controller at its usual place.</summary>
    public bool HasFloppy { get; init; }

    /// <summary>First port of ACPI's registers: events and control, then the timer at +8.</summary>
    public ushort PmBase { get; init; } = PcPorts.Pm1Event;

    /// <summary>First port of general-purpose event block 0.</summary>
    public ushort Gpe0 { get; init; } = PcPorts.Gpe0;

    /// <summary>Link of slot 0's INTA, 0 to 3.</summary>
    public int FirstPciLink { get; init; }

    /// <summary>First address of the window for PCI memory; a multiple of 4096 below <see cref="PcMemoryMap.PciWindowLast"/>.</summary>
    public ulong PciWindow { get; init; } = PcMemoryMap.PciWindow;

    /// <summary>Address of PCI Express configuration space for bus 0 (1 MiB); null when there is none.</summary>
    public ulong? EcamBase { get; init; }

    /// <summary>Number of virtio devices in pages of registers from <see cref="PcMemoryMap.VirtioMmio"/> on, 0 to <see cref="PcMemoryMap.VirtioMmioCount"/>.</summary>
    public int VirtioMmioDevices { get; init; }

    /// <summary>The machine's identity.</summary>
    public Guid Uuid { get; init; }

    /// <summary>The machine's name, as its serial number.</summary>
    public string SerialNumber { get; init; } = "";

    /// <summary>Version of the machine model.</summary>
    public string Version { get; init; } = "1";

    /// <summary>ISA interrupts of the PCI links, as the firmware routes them.</summary>
    public Func<int, int> LinkIrq { get; init; } = PcPorts.PciLinkIrq;

    internal ushort Pm1Event => PmBase;

    internal ushort Pm1Control => (ushort)(PmBase + (PcPorts.Pm1Control - PcPorts.Pm1Event));

    internal ushort PmTimer => (ushort)(PmBase + (PcPorts.PmTimer - PcPorts.Pm1Event));

    internal void Check()
    {
        if (CpuCount is < 1 or > 255)
            throw new ArgumentOutOfRangeException(nameof(CpuCount), CpuCount, "a machine has 1 to 255 vCPUs");
        if (SerialPorts < 0 || SerialPorts > PcPorts.SerialPorts.Count)
            throw new ArgumentOutOfRangeException(nameof(SerialPorts), SerialPorts, $"a machine has 0 to {PcPorts.SerialPorts.Count} serial ports");
        if (VirtioMmioDevices is < 0 or > PcMemoryMap.VirtioMmioCount)
            throw new ArgumentOutOfRangeException(nameof(VirtioMmioDevices), VirtioMmioDevices, $"a machine has 0 to {PcMemoryMap.VirtioMmioCount} virtio devices outside PCI");
        if (IoApicId > 15)
            throw new ArgumentOutOfRangeException(nameof(IoApicId), IoApicId, "an IOAPIC's id is 0 to 15");
        if (EcamBase is { } ecam && ((ecam & 0xFFFFF) != 0 || ecam > 0xFFF0_0000))
            throw new ArgumentOutOfRangeException(nameof(EcamBase), ecam, "configuration space must start at a multiple of 1 MiB below 4 GiB");
    }
}
