namespace Doppel.Vmm;

/// <summary>On what the guest of a machine is typed to.</summary>
public enum KeyboardKind
{
    /// <summary>A PS/2 keyboard.</summary>
    Ps2,

    /// <summary>A virtio keyboard beside it: it gets the keys once the guest's driver is there.</summary>
    Virtio,
}
