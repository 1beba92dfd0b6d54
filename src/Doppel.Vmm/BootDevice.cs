namespace Doppel.Vmm;

/// <summary>A kind of device that firmware boots from.</summary>
public enum BootDevice
{
    /// <summary>The disks, in their order.</summary>
    Disk,

    /// <summary>The CD drives.</summary>
    Cd,

    /// <summary>The floppy drives.</summary>
    Floppy,

    /// <summary>The network cards.</summary>
    Net,
}
