using Doppel.Machine.Cpu;
using Iced.Intel;

namespace Doppel.Machine.Tests.Differential;

/// <summary>
/// The status flags that the manuals leave undefined, in one place (Intel SDM vol. 2 and AMD APM vol. 3; undefined where
/// either says so). Tests compare every other flag.
/// </summary>
internal static class UndefinedFlags
{
    /// <param name="mnemonic">The instruction.</param>
    /// <param name="count">The masked count of a shift or rotate, else 0.</param>
    /// <param name="width">Operand width in bits.</param>
    internal static ulong Of(Mnemonic mnemonic, int count, int width) => mnemonic switch
    {
        Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test => CpuFlags.Af,
        Mnemonic.Mul or Mnemonic.Imul => CpuFlags.Sf | CpuFlags.Zf | CpuFlags.Af | CpuFlags.Pf,
        Mnemonic.Div or Mnemonic.Idiv => CpuFlags.Status,
        Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc => CpuFlags.Of | CpuFlags.Sf | CpuFlags.Af | CpuFlags.Pf,
        Mnemonic.Bsf or Mnemonic.Bsr => CpuFlags.Status & ~CpuFlags.Zf,
        Mnemonic.Tzcnt or Mnemonic.Lzcnt => CpuFlags.Of | CpuFlags.Sf | CpuFlags.Af | CpuFlags.Pf,
        Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr => count == 0 ? 0 : CpuFlags.Af | Overflow(count) | (count >= width ? CpuFlags.Cf : 0),
        Mnemonic.Sar => count == 0 ? 0 : CpuFlags.Af | Overflow(count),
        Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr => count == 0 ? 0 : Overflow(count),
        Mnemonic.Shld or Mnemonic.Shrd => count == 0 ? 0 : CpuFlags.Af | Overflow(count),
        Mnemonic.Aaa or Mnemonic.Aas => CpuFlags.Of | CpuFlags.Sf | CpuFlags.Zf | CpuFlags.Pf,
        Mnemonic.Aam or Mnemonic.Aad => CpuFlags.Of | CpuFlags.Af | CpuFlags.Cf,
        Mnemonic.Andn or Mnemonic.Bextr => CpuFlags.Sf | CpuFlags.Af | CpuFlags.Pf,
        Mnemonic.Blsi or Mnemonic.Blsmsk or Mnemonic.Blsr or Mnemonic.Bzhi => CpuFlags.Af | CpuFlags.Pf,
        Mnemonic.Daa or Mnemonic.Das => CpuFlags.Of,
        _ => 0,
    };

    private static ulong Overflow(int count) => count == 1 ? 0 : CpuFlags.Of;
}
