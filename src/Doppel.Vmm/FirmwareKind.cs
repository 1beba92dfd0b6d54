namespace Doppel.Vmm;

/// <summary>What starts a machine's guest.</summary>
public enum FirmwareKind
{
    /// <summary>Nothing: the kernel is loaded and entered directly, on a machine of the fewest parts.</summary>
    None,

    /// <summary>A BIOS on a PC with an i440FX and a PIIX3: SeaBIOS unless another ROM is given.</summary>
    Bios,

    /// <summary>UEFI on the same PC: OVMF.</summary>
    Uefi,
}
