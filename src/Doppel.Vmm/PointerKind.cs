namespace Doppel.Vmm;

/// <summary>With what the guest of a machine with a display points at it.</summary>
public enum PointerKind
{
    /// <summary>A PS/2 mouse: it tells how it moves.</summary>
    Mouse,

    /// <summary>A tablet on a USB controller (UHCI) beside the mouse: once the guest uses it, the pointer is where it is told to be.</summary>
    Tablet,

    /// <summary>A virtio tablet beside the mouse, for guests that have a driver for it.</summary>
    Virtio,
}
