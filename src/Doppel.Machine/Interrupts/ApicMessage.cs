namespace Doppel.Machine.Interrupts;

/// <summary>An interrupt message between the APICs.</summary>
/// <param name="Destination">Physical id or logical destination; <see cref="Broadcast"/> for everyone.</param>
/// <param name="IsLogical">How to read the destination.</param>
/// <param name="Mode">What is delivered.</param>
/// <param name="Vector">The vector, where the mode has one.</param>
/// <param name="IsLevel">Level-triggered: its EOI is broadcast to the IOAPICs.</param>
public readonly record struct ApicMessage(uint Destination, bool IsLogical, ApicDeliveryMode Mode, byte Vector, bool IsLevel)
{
    /// <summary>The destination that means every APIC, in 32 bits.</summary>
    public const uint Broadcast = uint.MaxValue;

    /// <summary>True when the vector is what is delivered.</summary>
    public bool HasVector => Mode is ApicDeliveryMode.Fixed or ApicDeliveryMode.LowestPriority;

    /// <summary>Widens an 8-bit destination: FFh is everyone.</summary>
    public static uint WidenDestination(byte destination) => destination == 0xFF ? Broadcast : destination;
}
