using Iced.Intel;

namespace Doppel.Engines.Translator;

/// <summary>
/// AH, CH, DH and BH. An instruction with a REX prefix cannot name them, and translated ones often need one, so the byte
/// moves to the low end of a scratch register and back. Neither way changes flags.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    private static bool IsHighByte(Register register) => register is >= Register.AH and <= Register.BH;

    /// <summary>Brings the second byte of a guest register to the low end of a scratch register.</summary>
    private HostRegister ReachHigh(int guest, HostRegister scratch)
    {
        _code.Rorx(scratch, RegisterMap.Home(guest), 8);
        return scratch;
    }

    /// <summary>Puts the low byte of a scratch register into the second byte of a guest register. May use RCX.</summary>
    private void StoreHighIf(bool isWritten, int guest, HostRegister scratch)
    {
        if (!isWritten)
            return;
        HostRegister home = RegisterMap.Home(guest);
        if ((int)home < 4)
        {
            // MOV AH, CL and its like have no REX prefix.
            _code.Move(RegisterMap.Check, scratch);
            _code.Byte(0x88);
            _code.Byte(0xC0 | ((int)RegisterMap.Check << 3) | ((int)home + 4));
            return;
        }

        _code.Rorx(home, home, 8);
        _code.Byte(0x40 | (((int)scratch >> 3) << 2) | ((int)home >> 3));
        _code.Byte(0x88);
        _code.Byte(0xC0 | (((int)scratch & 7) << 3) | ((int)home & 7));
        _code.Rorx(home, home, 56);
    }
}
