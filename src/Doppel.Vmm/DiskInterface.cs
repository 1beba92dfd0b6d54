namespace Doppel.Vmm;

/// <summary>The controller behind which a guest finds a disk.</summary>
public enum DiskInterface
{
    /// <summary>virtio-blk on PCI: /dev/vda under Linux.</summary>
    Virtio,

    /// <summary>An NVMe controller of its own: /dev/nvme0n1 under Linux.</summary>
    Nvme,

    /// <summary>A drive on the IDE controller, of which there can be four: /dev/sda, or /dev/sr0 for a CD, under Linux.</summary>
    Ide,

    /// <summary>A drive on the AHCI controller, of which there can be six: /dev/sda, or /dev/sr0 for a CD, under Linux.</summary>
    Ahci,

    /// <summary>A floppy drive, of which there can be two: /dev/fd0 under Linux.</summary>
    Floppy,
}
