namespace Doppel.Machine.Interrupts;

/// <summary>A local APIC as it is given to a keeper and read from it.</summary>
public sealed class KeptApic
{
    private readonly uint[] _registers = new uint[64];

    /// <summary>IA32_APIC_BASE. Only given: a guest's writes to it come to this process.</summary>
    public ulong Base { get; init; }

    /// <summary>IA32_TSC_DEADLINE, in guest ticks; 0 is disarmed.</summary>
    public ulong TscDeadline { get; init; }

    /// <summary>Only read: an INIT has come while this process has the vCPU's registers.</summary>
    public bool HasInit { get; init; }

    /// <summary>Only read: the vector of a start-up IPI that has come while this process has the vCPU's registers; null for none.</summary>
    public byte? StartUp { get; init; }

    /// <summary>A register by its offset in the page (<see cref="ApicRegister"/>). In x2APIC mode the id is in bits 31 to 24, as in the page, and the two halves of the command have a register each.</summary>
    public uint this[int offset]
    {
        get => _registers[offset >> 4];
        set => _registers[offset >> 4] = value;
    }
}
