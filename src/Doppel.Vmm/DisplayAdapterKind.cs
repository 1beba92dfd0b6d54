namespace Doppel.Vmm;

/// <summary>A machine's display adapter.</summary>
public enum DisplayAdapterKind
{
    /// <summary><see cref="Std"/> for a machine with firmware, which shows itself on a screen; else none.</summary>
    Automatic,

    /// <summary>None: the serial console is all there is to see.</summary>
    None,

    /// <summary>A VGA with the Bochs VBE extensions and a linear frame buffer (1234:1111).</summary>
    Std,

    /// <summary>The same until the guest's driver comes, and a virtio GPU without 3D then (1AF4:1050).</summary>
    Virtio,

    /// <summary>The same until the guest's driver comes, and VMware's SVGA II without 3D then (15AD:0405).</summary>
    Vmware,
}
