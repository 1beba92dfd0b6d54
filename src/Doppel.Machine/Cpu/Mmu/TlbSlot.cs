using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// One address space whose translations are cached; <see cref="CpuState.TlbSlots"/> holds <see cref="SoftTlb.SlotCount"/> of
/// them. Emitted code selects another one with them.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Bytes)]
public unsafe struct TlbSlot
{
    /// <summary>Least and most slots of a TLB, whose number is a power of two.</summary>
    public const int MinimumCount = 2, MaximumCount = 16;

    /// <summary>Size of one.</summary>
    public const int Bytes = 64;

    /// <summary>In <see cref="Pcid"/>: nothing that the slot holds may be used; it must be flushed before it is selected.</summary>
    public const ulong NoPcid = ulong.MaxValue;

    /// <summary>The PCID whose translations the slot holds, or <see cref="NoPcid"/>.</summary>
    public ulong Pcid;

    /// <summary>The lower half of <see cref="CpuState.CodeTags"/> while the slot is selected.</summary>
    public ulong Tag;

    /// <summary>What <see cref="CpuState.TlbModes"/> is while the slot is selected.</summary>
    public fixed ulong Modes[4];

    /// <summary>The mask by which PEXT makes the only slot that may hold a PCID of it: Linux counts from 1, with bit 11 for user space.</summary>
    public static ulong PcidMask(int count) => 0x800 | ((uint)count / 2 - 1);

    /// <summary>The only slot of so many that may hold a PCID.</summary>
    public static int IndexOf(int pcid, int count) => (pcid & (count / 2 - 1)) | ((pcid >> 11 & 1) * (count / 2));
}
