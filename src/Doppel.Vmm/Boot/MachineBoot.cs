using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Boot;

/// <summary>What a machine starts with.</summary>
internal sealed record MachineBoot
{
    /// <summary>For a machine whose saved state follows.</summary>
    internal static MachineBoot None { get; } = new() { IsForState = true };

    /// <summary>True when a saved state follows.</summary>
    internal bool IsForState { get; init; }

    /// <summary>The kernel; null when firmware finds one.</summary>
    internal IBootLoader? Kernel { get; init; }

    /// <summary>The kernel's bytes, which firmware loads itself; null like <see cref="Kernel"/>.</summary>
    internal BootFile? KernelFile { get; init; }

    /// <summary>Initial RAM disk or Multiboot module; null for none.</summary>
    internal BootFile? Initrd { get; init; }

    /// <summary>UEFI's variables; null on a machine without UEFI.</summary>
    internal VariableStore? Variables { get; init; }

    /// <summary>The ROMs by which firmware boots from network cards; none for a kind that it doesn't boot from.</summary>
    internal IReadOnlyDictionary<NetworkModel, byte[]> NetworkRoms { get; init; } = new Dictionary<NetworkModel, byte[]>();

    /// <summary>The ROMs; null on a machine without firmware.</summary>
    internal FirmwareFiles? Firmware { get; init; }
}
