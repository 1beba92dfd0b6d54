namespace Doppel.Vmm.Debugging;

/// <summary>One thing that a debugger has sent.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Payload">Of a packet: its content, unescaped, one character a byte.</param>
public readonly record struct GdbInput(GdbInputKind Kind, string Payload = "");

/// <summary>What a debugger can send.</summary>
public enum GdbInputKind
{
    /// <summary>A packet whose checksum is right.</summary>
    Packet,

    /// <summary>A packet that is damaged or too long.</summary>
    Damaged,

    /// <summary>Ctrl-C: stop.</summary>
    Interrupt,

    /// <summary>The last packet arrived.</summary>
    Acknowledgement,

    /// <summary>The last packet arrived damaged.</summary>
    Repeat,
}
