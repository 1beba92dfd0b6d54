namespace Doppel.Vmm;

/// <summary>The controller behind which a guest finds a disk.</summary>
public enum DiskInterface
{
    /// <summary>virtio-blk on PCI: /dev/vda under Linux.</summary>
    Virtio,

    /// <summary>An NVMe controller of its own: /dev/nvme0n1 under Linux.</summary>
    Nvme,
}
