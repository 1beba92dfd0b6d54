using System.Runtime.InteropServices;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// What a page walk in emitted code must know of the vCPU's mode, in the form in which it needs it. <see cref="SoftTlb"/>
/// keeps it right; such a walk does what <see cref="PageWalker"/> and the fill of the TLB do.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct PageWalkControls
{
    /// <summary>
    /// Not zero when emitted code may walk: 4-level paging, A20 open, no breakpoints or watchpoints, and no local window over
    /// memory.
    /// </summary>
    public ulong IsEnabled;

    /// <summary>Reserved bits of every entry.</summary>
    public ulong Reserved;

    /// <summary>Reserved bits of an entry of the top level.</summary>
    public ulong ReservedTop;

    /// <summary>Reserved bits of an entry that maps 1 GiB, beside <see cref="Reserved"/>.</summary>
    public ulong ReservedHuge;

    /// <summary><see cref="TlbRights.Global"/> when CR4.PGE is set.</summary>
    public ulong GlobalMask;

    /// <summary>The error code bit I when fetches are reported.</summary>
    public ulong FetchError;

    /// <summary>Pages of the guest-physical address space, the size of <see cref="CpuState.PageFlags"/>.</summary>
    public ulong PageCount;

    /// <summary>Walks made, by emitted code or not.</summary>
    public ulong Walks;

    /// <summary>Flushes of an address space made.</summary>
    public ulong Flushes;

    /// <summary>Not zero when some slot may hold a global translation of the lower half, which INVLPG must find.</summary>
    public ulong HasGlobalLower;

    /// <summary>The mask by which PEXT makes a <see cref="TlbSlot"/>'s index of a PCID.</summary>
    public ulong PcidMask;

    /// <summary>The <see cref="TlbMode"/> of privileged code while RFLAGS.AC is clear.</summary>
    public ulong KernelMode;

    /// <summary>
    /// For each <see cref="TlbMode"/> eight bytes of rights (Read, Write, Execute, User). The index of a byte has bit 0 set
    /// when an entry of the walk denies writes, bit 1 when one denies user access, bit 2 when one denies execution.
    /// </summary>
    public fixed ulong Rights[4];
}
