using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Doppel.Machine.Tests.Differential;

/// <summary>What an integer instruction sees and changes besides memory; the layout is known to the oracle's stub.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OracleRegisters
{
    internal GprArray Gpr;
    internal ulong Flags;
    internal ulong HostStackPointer;
    internal ulong HostFlags;

    /// <summary>1 when a branch was taken.</summary>
    internal ulong Taken;

    [InlineArray(16)]
    internal struct GprArray
    {
        private ulong _first;
    }
}
