namespace Doppel.Vmm.Firmware;

/// <summary>What a board with firmware has in its ROMs.</summary>
/// <param name="Rom">The system ROM, whole pages; it ends at 4 GiB.</param>
/// <param name="Name">Where it was found.</param>
internal sealed record FirmwareFiles(byte[] Rom, string Name)
{
    /// <summary>ROMs of devices that the firmware asks for, by the names under which it does: "vgaroms/..." and "pciVVVV,DDDD.rom".</summary>
    internal IReadOnlyDictionary<string, byte[]> OptionRoms { get; init; } = new Dictionary<string, byte[]>();
}
