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
}
