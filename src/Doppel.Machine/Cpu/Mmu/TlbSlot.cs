using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One address space whose translations are cached; <see cref="CpuState.TlbSlots"/> holds <see cref="Count"/> of them. Emitted
/// code selects another one with them.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Bytes)]
public unsafe struct TlbSlot
{
    /// <summary>Number of slots.</summary>
    public const int Count = 16;

    /// <summary>Size of one.</summary>
    public const int Bytes = 64;

    /// <summary>The mask by which PEXT makes the only slot that may hold a PCID of it: Linux counts from 1, with bit 11 for user space.</summary>
    public const ulong PcidMask = 0x807;

    /// <summary>In <see cref="Pcid"/>: nothing that the slot holds may be used; it must be flushed before it is selected.</summary>
    public const ulong NoPcid = ulong.MaxValue;

    /// <summary>The PCID whose translations the slot holds, or <see cref="NoPcid"/>.</summary>
    public ulong Pcid;

    /// <summary>The lower half of <see cref="CpuState.CodeTags"/> while the slot is selected.</summary>
    public ulong Tag;

    /// <summary>What <see cref="CpuState.TlbModes"/> is while the slot is selected.</summary>
    public fixed ulong Modes[4];

    /// <summary>The only slot that may hold a PCID.</summary>
    public static int IndexOf(int pcid) => (pcid & 7) | ((pcid >> 8) & 8);
}
