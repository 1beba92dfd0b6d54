using System.Runtime.CompilerServices;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>The result of a page walk: the address and what the translation allows in the mode that asked.</summary>
internal readonly record struct Translation(ulong Physical, TlbRights Rights);

/// <summary>
/// Walks the guest's page tables: none, 2-level with PSE, PAE, 4-level (Intel SDM vol. 3, chapter 4). Checks rights and
/// reserved bits, sets accessed and dirty bits, and throws #PF with its error code.
/// </summary>
internal static unsafe class PageWalker
{
    private const ulong Present = 1;
    private const ulong Writable = 2;
    private const ulong User = 4;
    private const ulong Accessed = 1 << 5;
    private const ulong Dirty = 1 << 6;
    private const ulong PageSize = 1 << 7;
    private const ulong Global = 1 << 8;
    private const ulong NoExecute = 1UL << 63;

    private const uint ErrorPresent = 1;
    private const uint ErrorUser = 4;
    private const uint ErrorReserved = 8;

    /// <summary>Translates a linear address. A non-canonical one must have been refused before.</summary>
    /// <returns>
    /// The #PF, ready to be thrown or delivered; null when the address is mapped. Guests fault often, and an exception
    /// costs as much as a thousand of their instructions.
    /// </returns>
    internal static GuestFault? TryWalk(VirtualCpu cpu, ulong address, AccessKind access, bool isUser, bool smapActive, out Translation translation)
    {
        CpuState* s = cpu.State;
        translation = new Translation(address & 0xFFFFFFFF, TlbRights.Read | TlbRights.Write | TlbRights.Execute | TlbRights.Global);
        if ((s->Cr0 & Cr0.Pg) == 0)
            return null;
        while (true)
        {
            var walk = new WalkState(cpu, address, access, isUser, smapActive);
            translation = (s->Cr4 & Cr4.Pae) == 0 ? walk.TwoLevel() : (s->Efer & Efer.Lma) != 0 ? walk.FourLevel() : walk.Pae();
            if (!walk.HasChanged)
                return walk.Fault;
        }
    }

    /// <summary>What at least one entry of a walk denies.</summary>
    [Flags]
    internal enum Denied
    {
        Writes = 1,
        UserAccess = 2,
        Execution = 4,
    }

    /// <summary>Reserved bits of every 64-bit entry.</summary>
    internal static ulong ReservedBits(VirtualCpu cpu) =>
        (0x000F_FFFF_FFFF_FFFFUL & ~((1UL << cpu.Model.PhysicalAddressBits) - 1)) | ((cpu.State->Efer & Efer.Nxe) == 0 ? NoExecute : 0);

    /// <summary>Whether the error code of a fault tells that it was a fetch (Intel SDM vol. 3, 4.7).</summary>
    internal static bool ReportsFetches(CpuState* s) =>
        ((s->Efer & Efer.Nxe) != 0 && (s->Cr4 & Cr4.Pae) != 0) || (s->Cr4 & Cr4.Smep) != 0;

    /// <summary>
    /// What the entries of a walk allow (Intel SDM vol. 3, 4.6.1), without regard to the dirty bit; with
    /// <see cref="TlbRights.User"/> when it is a user page.
    /// </summary>
    internal static TlbRights RightsOf(CpuState* s, Denied denied, bool isUser, bool smapActive)
    {
        bool isUserPage = (denied & Denied.UserAccess) == 0;
        bool isWritable = (denied & Denied.Writes) == 0;
        bool mayExecute = (denied & Denied.Execution) == 0 || (s->Efer & Efer.Nxe) == 0;
        bool mayRead, mayWrite;
        if (isUser)
        {
            mayRead = isUserPage;
            mayWrite = isUserPage && isWritable;
            mayExecute &= isUserPage;
        }
        else
        {
            mayRead = !(isUserPage && smapActive);
            mayWrite = mayRead && (isWritable || (s->Cr0 & Cr0.Wp) == 0);
            if (isUserPage && (s->Cr4 & Cr4.Smep) != 0)
                mayExecute = false;
        }

        return (mayRead ? TlbRights.Read : 0) | (mayWrite ? TlbRights.Write : 0) | (mayExecute ? TlbRights.Execute : 0) |
            (isUserPage ? TlbRights.User : 0);
    }

    /// <summary>
    /// The physical address of a linear one without any effect: no fault, no accessed bit. For debuggers and traces.
    /// </summary>
    /// <returns>False when the address is not mapped.</returns>
    internal static bool TryProbe(VirtualCpu cpu, ulong address, out ulong physical)
    {
        CpuState* s = cpu.State;
        physical = address & 0xFFFFFFFF;
        if ((s->Cr0 & Cr0.Pg) == 0)
            return true;
        PhysicalAddressSpace memory = cpu.Physical;
        bool pae = (s->Cr4 & Cr4.Pae) != 0;
        bool isLong = (s->Efer & Efer.Lma) != 0;
        int level = isLong ? 4 : pae ? 3 : 2;
        int bits = pae ? 9 : 10;
        ulong table = s->Cr3 & (isLong ? 0xFFFFFFFFFF000UL : pae ? 0xFFFFFFE0UL : 0xFFFFF000UL);
        for (; ; level--)
        {
            int shift = 12 + ((level - 1) * bits);
            ulong index = (address >> shift) & ((1UL << bits) - 1);
            ulong entry;
            if (pae && !isLong && level == 3)
                entry = s->Pdpte[(address >> 30) & 3];
            else if (memory.IsPlainMemory(table & memory.AddressMask))
                entry = memory.Read(table + (index * (pae ? 8u : 4u)), pae ? 8 : 4);
            else
                return false;
            if ((entry & Present) == 0)
                return false;
            bool isLeaf = level == 1 || ((entry & PageSize) != 0 && level <= (isLong ? 3 : 2) && (pae || (s->Cr4 & Cr4.Pse) != 0));
            if (!isLeaf)
            {
                table = entry & 0xFFFFFFFFFF000UL;
                continue;
            }

            ulong offsetMask = (1UL << shift) - 1;
            ulong frame = entry & 0xFFFFFFFFFF000UL & ~offsetMask;
            if (!pae && level == 2)
                frame |= (entry & 0x1FE000) << 19;
            physical = frame | (address & offsetMask);
            return true;
        }
    }

    private ref struct WalkState
    {
        private readonly VirtualCpu _cpu;
        private readonly CpuState* _s;
        private readonly ulong _address;
        private readonly AccessKind _access;
        private readonly bool _isUser;
        private readonly bool _smapActive;
        private readonly ulong _reservedHigh;
        private ulong _combined;
        private ulong _directory;
        private ulong _directoryEntry;
        private bool _hasChanged;
        private bool _noExecute;

        internal WalkState(VirtualCpu cpu, ulong address, AccessKind access, bool isUser, bool smapActive)
        {
            _cpu = cpu;
            _s = cpu.State;
            _address = address;
            _access = access;
            _isUser = isUser;
            _smapActive = smapActive;
            _combined = Writable | User;
            _reservedHigh = ReservedBits(cpu);
        }

        /// <summary>True when an entry was changed by another vCPU while its bits were set: the walk must be made again.</summary>
        internal readonly bool HasChanged => _hasChanged;

        /// <summary>Why the walk failed; null when it did not.</summary>
        internal GuestFault? Fault { get; private set; }

        internal Translation TwoLevel()
        {
            ulong directory = (_s->Cr3 & 0xFFFFF000) + (((_address >> 22) & 0x3FF) * 4);
            ulong entry = Load(directory, 4);
            if (entry == 0)
                return default;
            Combine(entry);
            if ((entry & PageSize) != 0 && (_s->Cr4 & Cr4.Pse) != 0)
            {
                // PSE-36: bits 13 to 20 are address bits 32 to 39; bit 21 is reserved, as are those beyond MAXPHYADDR.
                ulong high = (entry >> 13) & 0xFF;
                ulong reserved = (1UL << 21) | ((high & ~((1UL << (Math.Min(_cpu.Model.PhysicalAddressBits, 40) - 32)) - 1)) << 13);
                if ((entry & reserved) != 0)
                    return Fail(ErrorPresent | ErrorReserved);
                return Leaf(directory, entry, 4, (high << 32) | (entry & 0xFFC00000), 22);
            }

            // As a 386 does, and as the manual leaves open (4.8): a walk that ends in a fault marks nothing.
            (_directory, _directoryEntry) = (directory, entry);
            ulong table = (entry & 0xFFFFF000) + (((_address >> 12) & 0x3FF) * 4);
            entry = Load(table, 4);
            if (entry == 0)
                return default;
            Combine(entry);
            return Leaf(table, entry, 4, entry & 0xFFFFF000, 12);
        }

        internal Translation Pae()
        {
            ulong pointer = _s->Pdpte[(_address >> 30) & 3];
            if ((pointer & Present) == 0)
                return Fail(0);
            // Without long mode, bits 52 to 62 are reserved too (table 4-9 and 4-10).
            return LowerLevels((pointer & Frame) + (((_address >> 21) & 0x1FF) * 8), 0x7FF0_0000_0000_0000UL);
        }

        internal Translation FourLevel()
        {
            ulong slot = (_s->Cr3 & Frame) + (((_address >> 39) & 0x1FF) * 8);
            ulong entry = Load(slot, 8);
            if (entry == 0)
                return default;
            if ((entry & (_reservedHigh | PageSize)) != 0)
                return Fail(ErrorPresent | ErrorReserved);
            Combine(entry);
            if (!TrySetAccessed(slot, entry, 8))
                return default;
            slot = (entry & Frame) + (((_address >> 30) & 0x1FF) * 8);
            entry = Load(slot, 8);
            if (entry == 0)
                return default;
            if ((entry & _reservedHigh) != 0)
                return Fail(ErrorPresent | ErrorReserved);
            Combine(entry);
            if ((entry & PageSize) != 0)
            {
                if ((entry & 0x3FFFE000) != 0 || !_cpu.Model.Has1GiBPages)
                    return Fail(ErrorPresent | ErrorReserved);
                return Leaf(slot, entry, 8, entry & Frame & ~0x3FFFFFFFUL, 30);
            }

            if (!TrySetAccessed(slot, entry, 8))
                return default;
            return LowerLevels((entry & Frame) + (((_address >> 21) & 0x1FF) * 8), 0);
        }

        private const ulong Frame = 0x000F_FFFF_FFFF_F000UL;

        private Translation LowerLevels(ulong slot, ulong alsoReserved)
        {
            ulong reserved = _reservedHigh | alsoReserved;
            ulong entry = Load(slot, 8);
            if (entry == 0)
                return default;
            if ((entry & reserved) != 0)
                return Fail(ErrorPresent | ErrorReserved);
            Combine(entry);
            if ((entry & PageSize) != 0)
            {
                if ((entry & 0x1FE000) != 0)
                    return Fail(ErrorPresent | ErrorReserved);
                return Leaf(slot, entry, 8, entry & Frame & ~0x1FFFFFUL, 21);
            }

            if (!TrySetAccessed(slot, entry, 8))
                return default;
            slot = (entry & Frame) + (((_address >> 12) & 0x1FF) * 8);
            entry = Load(slot, 8);
            if (entry == 0)
                return default;
            if ((entry & reserved) != 0)
                return Fail(ErrorPresent | ErrorReserved);
            Combine(entry);
            return Leaf(slot, entry, 8, entry & Frame, 12);
        }

        /// <summary>Reads an entry; 0, with the fault noted, when it is not present.</summary>
        private ulong Load(ulong slot, int size)
        {
            ulong entry = _cpu.Physical.Read(slot, size);
            if ((entry & Present) != 0)
                return entry;
            _ = Fail(0);
            return 0;
        }

        private void Combine(ulong entry)
        {
            _combined &= entry;
            _noExecute |= (entry & NoExecute) != 0;
        }

        private Translation Leaf(ulong slot, ulong entry, int size, ulong frame, int shift)
        {
            Denied denied = ((_combined & Writable) == 0 ? Denied.Writes : 0) | ((_combined & User) == 0 ? Denied.UserAccess : 0) |
                (_noExecute ? Denied.Execution : 0);
            TlbRights rights = RightsOf(_s, denied, _isUser, _smapActive);
            TlbRights wantedRight = _access switch
            {
                AccessKind.Write => TlbRights.Write,
                AccessKind.Execute => TlbRights.Execute,
                _ => TlbRights.Read,
            };
            if ((rights & wantedRight) == 0)
                return Fail(ErrorPresent);

            if (_directoryEntry != 0 && !TrySetAccessed(_directory, _directoryEntry, 4))
                return default;
            ulong wanted = entry | Accessed | (_access == AccessKind.Write ? Dirty : 0);
            if (wanted != entry)
            {
                if (!TrySetBits(slot, size, entry, wanted))
                    return default;
                entry = wanted;
            }

            if ((entry & Dirty) == 0)
                rights &= ~TlbRights.Write;
            if ((entry & Global) != 0 && (_s->Cr4 & Cr4.Pge) != 0)
                rights |= TlbRights.Global;
            if (shift != 12)
                rights |= shift == 30 ? TlbRights.Huge : TlbRights.Large;
            return new Translation(frame | (_address & ((1UL << shift) - 1)), rights);
        }

        private bool TrySetAccessed(ulong slot, ulong entry, int size) =>
            (entry & Accessed) != 0 || TrySetBits(slot, size, entry, entry | Accessed);

        // The bits are set only in the entry that was read, by a locked compare-and-exchange as hardware does it: another
        // vCPU may just have made it absent and given the other bits a meaning of their own.
        private bool TrySetBits(ulong slot, int size, ulong entry, ulong wanted)
        {
            PhysicalAddressSpace physical = _cpu.Physical;
            slot &= physical.AddressMask;
            if ((physical.Memory.FlagsOf(slot) & PageFlags.Ram) == 0)
                return true;
            bool done = size == 8
                ? Interlocked.CompareExchange(ref Unsafe.AsRef<ulong>(physical.Memory.Base + slot), wanted, entry) == entry
                : Interlocked.CompareExchange(ref Unsafe.AsRef<uint>(physical.Memory.Base + slot), (uint)wanted, (uint)entry) == (uint)entry;
            if (done)
                physical.Memory.NoteWrite(slot, size);
            else
                _hasChanged = true;
            return done;
        }

        private Translation Fail(uint code)
        {
            code |= (uint)_access & 2;
            if (_isUser)
                code |= ErrorUser;
            if (_access == AccessKind.Execute && ReportsFetches(_s))
                code |= (uint)AccessKind.Execute;
            Fault = _cpu.PageFault(_address, code);
            return default;
        }
    }
}
