namespace Doppel.Engines.Translator;

/// <summary>Loading of the guest's status flags, which are the host's own, in emitted code.</summary>
internal static class StatusFlags
{
    /// <summary>
    /// Loads them from a value of RFLAGS in <see cref="RegisterMap.Address"/>; uses the other two scratch registers. POPF
    /// takes twice as long.
    /// </summary>
    internal static void EmitLoad(ref Emitter code)
    {
        code.Move(RegisterMap.Temporary, HostRegister.Rax);
        code.Move32(HostRegister.Rax, RegisterMap.Address);
        code.Byte(0x8A); // mov ah, al
        code.Byte(0xE0);
        code.Pext(RegisterMap.Check, RegisterMap.Address, SystemSlots.OverflowMask);
        code.Byte(0x8A); // mov al, cl
        code.Byte(0xC1);
        code.Byte(0x04); // add al, 7Fh: overflows when OF shall be set
        code.Byte(0x7F);
        code.Byte(0x9E); // sahf
        code.Move(HostRegister.Rax, RegisterMap.Temporary);
    }
}
