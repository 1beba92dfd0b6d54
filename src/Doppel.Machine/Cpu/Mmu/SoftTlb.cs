using System.Numerics;
using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// The software TLB of one vCPU. There is a table for each recent PCID and each mode of access (<see cref="TlbMode"/>), so
/// that a change of privilege or of address space is a change of one pointer, <see cref="CpuState.Tlb"/>. The upper half of
/// the linear addresses, the kernel's, is common to all PCIDs: what is global there stays when another one is selected.
/// </summary>
/// <remarks>
/// Belongs to the vCPU's thread, except <see cref="DropWrite"/> and <see cref="RequestFlush"/>. Emitted code changes mode,
/// selects slots and drops pages too, in the same structures (<see cref="TlbLayout"/>, <see cref="TlbSlot"/>); nothing of
/// them is kept a second time here.
/// </remarks>
public sealed unsafe class SoftTlb : IDisposable
{
    private readonly VirtualCpu _cpu;
    private readonly TlbMemory _memory;
    private readonly TlbSlot* _slots;
    private volatile bool _flushRequested;

    /// <summary>Creates the TLB of a vCPU that is being made.</summary>
    /// <param name="cpu">The vCPU.</param>
    /// <param name="slots">Address spaces whose translations are kept: 2, 4, 8 or 16. Each takes up to 450 KiB.</param>
    internal SoftTlb(VirtualCpu cpu, int slots)
    {
        if (!BitOperations.IsPow2(slots) || slots is < TlbSlot.MinimumCount or > TlbSlot.MaximumCount)
            throw new ArgumentOutOfRangeException(nameof(slots), slots, "a TLB keeps 2, 4, 8 or 16 address spaces");
        _cpu = cpu;
        SlotCount = slots;
        _memory = new TlbMemory(slots);
        cpu.State->Walk.PcidMask = TlbSlot.PcidMask(slots);
        _slots = cpu.State->TlbSlots = _memory.Slots;
        _slots[0].Pcid = 0;
        cpu.Physical.AddTlb(this);
        CodeTags = new CodeTags(cpu.State, slots);
        Select(0, TlbMode.Supervisor);
        PublishWalk();
        SelectTable();
    }

    /// <summary>Address spaces whose translations are kept.</summary>
    public int SlotCount { get; }

    /// <summary>What addresses of code mean at present.</summary>
    public CodeTags CodeTags { get; }

    /// <summary>Slow look-ups that found a cached translation.</summary>
    public ulong SlowHits { get; private set; }

    /// <summary>Page walks made.</summary>
    public ulong Walks => _cpu.State->Walk.Walks;

    /// <summary>Flushes of an address space or of everything.</summary>
    public ulong Flushes => _cpu.State->Walk.Flushes;

    // Emitted code may have selected another table.
    private int CurrentTable => (int)(((byte*)_cpu.State->Tlb - _memory.Table(0, 0)) / TlbLayout.TableBytes);

    private int CurrentSlot => CurrentTable / TlbMemory.ModeCount;

    private TlbMode CurrentMode => (TlbMode)(CurrentTable % TlbMemory.ModeCount);

    /// <summary>Points <see cref="CpuState.Tlb"/> at the table for the current privilege, SMAP and alignment state.</summary>
    internal void SelectTable()
    {
        CpuState* s = _cpu.State;
        TlbMode mode;
        if (s->Cpl == 3)
            mode = (s->Cr0 & Cr0.Am) != 0 && (s->FlagSystem & CpuFlags.Ac) != 0 ? TlbMode.UserAligned : TlbMode.User;
        else
            mode = (s->Cr4 & Cr4.Smap) != 0 && (s->FlagSystem & CpuFlags.Ac) == 0 ? TlbMode.SupervisorSmap : TlbMode.Supervisor;
        s->Tlb = (void*)s->TlbModes[(int)mode];
    }

    /// <summary>MOV CR3 and its like: a new address space (Intel SDM vol. 3, 4.10.4.1).</summary>
    /// <param name="pcid">The PCID, 0 when CR4.PCIDE is clear.</param>
    /// <param name="keep">Bit 63 of the source: what is cached for that PCID stays.</param>
    public void SelectAddressSpace(int pcid, bool keep)
    {
        TlbMode mode = CurrentMode;
        int slot = TlbSlot.IndexOf(pcid, SlotCount);
        if (_slots[slot].Pcid != (ulong)pcid)
        {
            if (!_memory.IsMapped(slot))
                _memory.MapSlot(slot);
            FlushLower(slot, keepGlobal: false);
            _slots[slot].Pcid = (ulong)pcid;
        }
        else if (!keep)
        {
            FlushLower(slot, keepGlobal: true);
        }

        FlushUpper(keepGlobal: true);
        Select(slot, mode);
    }

    /// <summary>Drops everything, global translations included.</summary>
    public void FlushAll()
    {
        _flushRequested = false;
        FlushLower(CurrentSlot, keepGlobal: false);
        FlushUpper(keepGlobal: false);
        CodeTags.DropAll(CurrentSlot);
        _cpu.State->Walk.HasGlobalLower = 0;
        ForgetOthers();
        PublishWalk();
    }

    /// <summary>Drops what is not global, in every address space (INVPCID type 3).</summary>
    public void FlushNonGlobal()
    {
        FlushLower(CurrentSlot, keepGlobal: true);
        FlushUpper(keepGlobal: true);
        ForgetOthers();
    }

    /// <summary>Drops what is not global of one PCID (INVPCID type 1).</summary>
    public void FlushPcid(int pcid)
    {
        int slot = TlbSlot.IndexOf(pcid, SlotCount);
        if (_slots[slot].Pcid != (ulong)pcid)
            return;
        if (slot != CurrentSlot)
        {
            _slots[slot].Pcid = TlbSlot.NoPcid;
            return;
        }

        FlushLower(slot, keepGlobal: true);
        FlushUpper(keepGlobal: true);
    }

    /// <summary>
    /// INVLPG: drops a page of the current PCID and a global page of any, with the whole large page that it is part of.
    /// </summary>
    public void FlushPage(ulong address)
    {
        FlushPageOf(CurrentSlot, address);
        if (IsUpper(address) || _cpu.State->Walk.HasGlobalLower == 0)
            return;
        for (int slot = 0; slot < SlotCount; slot++)
        {
            if (slot != CurrentSlot && _slots[slot].Pcid != TlbSlot.NoPcid && HasGlobalLower(slot))
                _slots[slot].Pcid = TlbSlot.NoPcid;
        }
    }

    /// <summary>INVPCID type 0: drops a page of one PCID.</summary>
    public void FlushPage(ulong address, int pcid)
    {
        int slot = TlbSlot.IndexOf(pcid, SlotCount);
        if (_slots[slot].Pcid == (ulong)pcid)
            FlushPageOf(slot, address);
    }

    /// <summary>Asks the owner to flush before its next instruction. Any thread.</summary>
    public void RequestFlush()
    {
        _flushRequested = true;
        _cpu.Signal(PendingEvents.Flush);
    }

    /// <summary>Carries out <see cref="RequestFlush"/>, if there was one.</summary>
    public void FlushIfRequested()
    {
        _cpu.ClearSignal(PendingEvents.Flush);
        if (_flushRequested)
            FlushAll();
    }

    /// <summary>
    /// Carries out what a device asked for that this vCPU has just written to: the next access is another instruction's already, though
    /// of the same block. The signal stays, for what else it stands for.
    /// </summary>
    public void FlushAfterAccess()
    {
        if (_flushRequested)
            FlushAll();
    }

    /// <summary>Makes every write to a guest-physical page take the slow path. Any thread.</summary>
    public void DropWrite(ulong physicalPage)
    {
        for (int i = 0; i < TlbMemory.UpperCount; i++)
            _memory.Upper(i).DropWrite(physicalPage);
        for (int slot = 0; slot < SlotCount; slot++)
        {
            for (int mode = 0; mode < TlbMemory.ModeCount && _memory.IsMapped(slot); mode++)
                _memory.Lower(slot, mode).DropWrite(physicalPage);
        }
    }

    /// <summary>
    /// The guest-physical address of a linear one in the current mode, from the cache or by a walk that fills it.
    /// Sets accessed and dirty bits. Throws #PF.
    /// </summary>
    public ulong Translate(ulong address, AccessKind access) => Translate(address, access, CurrentMode);

    /// <summary>The same, but a #PF is returned instead of thrown; it is valid until the vCPU's next fault.</summary>
    public GuestFault? TryTranslate(ulong address, AccessKind access, out ulong physical) => TryTranslate(address, access, CurrentMode, out physical);

    /// <summary>The same as an implicit supervisor access (descriptor tables, TSS): RFLAGS.AC does not override SMAP.</summary>
    public ulong TranslateSystem(ulong address, AccessKind access) =>
        Translate(address, access, (_cpu.State->Cr4 & Cr4.Smap) != 0 ? TlbMode.SupervisorSmap : TlbMode.Supervisor);

    /// <summary>
    /// Notes in <see cref="CodeTags"/> that an engine caches addresses of a page. The page must just have been translated
    /// for execution.
    /// </summary>
    public void MarkCode(ulong address)
    {
        TlbEntry* entry = TlbEntry.Of(_cpu.State->Tlb, address);
        CodeTags.Mark(address, entry->Page == ((address & ~0xFFFUL) | 1) ? entry->Rights : TlbRights.None);
    }

    /// <summary>Whether an access would take the fast path in the current mode.</summary>
    public bool Hits(ulong address, int size, bool isWrite)
    {
        TlbEntry* entry = TlbEntry.Of(_cpu.State->Tlb, address);
        return (isWrite ? entry->WriteTag : entry->ReadTag) + address + (uint)(size - 1) < 4096;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cpu.Physical.RemoveTlb(this);
        _memory.Dispose();
    }

    private static bool IsUpper(ulong address) => ((address >> 47) & 1) != 0;

    private ulong Translate(ulong address, AccessKind access, TlbMode mode) =>
        TryTranslate(address, access, mode, out ulong physical) is { } fault ? throw fault : physical;

    private GuestFault? TryTranslate(ulong address, AccessKind access, TlbMode mode, out ulong result)
    {
        byte* table = (byte*)_cpu.State->TlbModes[(int)mode];
        TlbEntry* entry = TlbEntry.Of(table, address);
        ulong page = address & ~0xFFFUL;
        TlbRights wanted = access switch
        {
            AccessKind.Write => TlbRights.Write,
            AccessKind.Execute => TlbRights.Execute,
            _ => TlbRights.Read,
        };
        if (entry->Page == (page | 1) && (entry->Rights & wanted) != 0)
        {
            SlowHits++;
            // The page may have stopped being watched since the entry was filled.
            if (access == AccessKind.Write && entry->WriteTag != 0UL - page)
                SetTags(entry, page, mode);
            result = entry->Physical | (address & 0xFFF);
            return null;
        }

        _cpu.State->Walk.Walks++;
        bool isUser = mode is TlbMode.User or TlbMode.UserAligned;
        result = 0;
        if (PageWalker.TryWalk(_cpu, address, access, isUser, smapActive: mode == TlbMode.SupervisorSmap, out Translation translation) is { } fault)
            return fault;
        ulong physical = translation.Physical & _cpu.Physical.AddressMask & ~0xFFFUL;
        result = physical | (address & 0xFFF);
        // Both supervisor modes share the upper half; under SMAP they differ in user pages.
        if (!isUser && IsUpper(address) && (translation.Rights & TlbRights.User) != 0 && (_cpu.State->Cr4 & Cr4.Smap) != 0)
            return null;
        if ((translation.Rights & TlbRights.Global) != 0 && !IsUpper(address))
            _cpu.State->Walk.HasGlobalLower = 1;
        TlbMemory.HalfOf(table, address).Fill(entry, page, physical, translation.Rights);
        SetTags(entry, page, mode);
        return null;
    }

    private void SetTags(TlbEntry* entry, ulong page, TlbMode mode)
    {
        GuestMemory memory = _cpu.Physical.Memory;
        ulong physical = entry->Physical;
        TlbRights rights = entry->Rights;
        ulong invalid = TlbHalf.InvalidTag((int)(page >> 12));
        ulong tag = 0UL - page;
        PageFlags flags = _cpu.Physical.FlagsOf(physical);
        entry->ReadTag = entry->WriteTag = entry->ExecuteTag = invalid;
        if ((flags & (PageFlags.Ram | PageFlags.Rom)) == 0)
            return;
        entry->Addend = (ulong)(memory.Base + physical) - page;
        if ((rights & TlbRights.Execute) != 0)
            entry->ExecuteTag = tag;
        // With alignment checks or breakpoints on, and on a watched page, data accesses always take the slow path.
        if (mode == TlbMode.UserAligned || (flags & PageFlags.Watched) != 0 || (_cpu.State->Dr[7] & 0xFF) != 0)
            return;
        if (_cpu.Debug is { } debug && debug.Breakpoints.WatchesPage(page))
            return;
        if ((rights & TlbRights.Read) != 0)
            entry->ReadTag = tag;
        if ((rights & TlbRights.Write) == 0 || (flags & PageFlags.Ram) == 0)
            return;
        memory.SetFlags(physical, PageFlags.Dirty);
        Volatile.Write(ref entry->WriteTag, tag);
        Interlocked.MemoryBarrier();
        if ((memory.FlagsOf(physical) & (PageFlags.Code | PageFlags.PageTable | PageFlags.Watched)) != 0)
            Volatile.Write(ref entry->WriteTag, invalid);
    }

    private void FlushLower(int slot, bool keepGlobal)
    {
        _cpu.State->Walk.Flushes++;
        for (int mode = 0; mode < TlbMemory.ModeCount; mode++)
            _memory.Lower(slot, mode).Flush(keepGlobal);
        CodeTags.DropSpace(slot, slot == CurrentSlot);
    }

    // Most kernels map all of the upper half as global: then nothing happens here.
    private void FlushUpper(bool keepGlobal)
    {
        CodeTags.DropLocalUpper();
        ulong hasLocal = 0;
        for (int i = 0; i < TlbMemory.UpperCount; i++)
            hasLocal |= _memory.Upper(i).Control->HasLocal;
        if (keepGlobal && hasLocal == 0)
            return;
        for (int i = 0; i < TlbMemory.UpperCount; i++)
            _memory.Upper(i).Flush(keepGlobal);
    }

    private void FlushPageOf(int slot, ulong address)
    {
        CodeTags.DropPage(address, CurrentSlot);
        if (IsUpper(address))
        {
            for (int i = 0; i < TlbMemory.UpperCount; i++)
                _memory.Upper(i).FlushPage(address);
            return;
        }

        for (int mode = 0; mode < TlbMemory.ModeCount; mode++)
            _memory.Lower(slot, mode).FlushPage(address);
    }

    private bool HasGlobalLower(int slot)
    {
        ulong hasGlobal = 0;
        for (int mode = 0; mode < TlbMemory.ModeCount; mode++)
            hasGlobal |= _memory.Lower(slot, mode).Control->HasGlobal;
        return hasGlobal != 0;
    }

    private void ForgetOthers()
    {
        for (int slot = 0; slot < SlotCount; slot++)
        {
            if (slot != CurrentSlot)
                _slots[slot].Pcid = TlbSlot.NoPcid;
        }
    }

    // Whatever changes the rules of a walk also flushes everything.
    private void PublishWalk()
    {
        CpuState* s = _cpu.State;
        ref PageWalkControls walk = ref s->Walk;
        PhysicalAddressSpace physical = _cpu.Physical;
        bool isFourLevel = (s->Cr0 & Cr0.Pg) != 0 && (s->Cr4 & Cr4.Pae) != 0 && (s->Efer & Efer.Lma) != 0;
        bool isUsual = physical.AddressMask == ulong.MaxValue && !physical.HasWindowOverMemory &&
            (s->Dr[7] & 0xFF) == 0 && _cpu.Debug is not { Breakpoints.HasWatchpoints: true };
        walk.IsEnabled = isFourLevel && isUsual ? 1UL : 0;
        walk.Reserved = PageWalker.ReservedBits(_cpu);
        walk.ReservedTop = walk.Reserved | 0x80;
        walk.ReservedHuge = 0x3FFFE000UL | (_cpu.Model.Has1GiBPages ? 0u : 0x80u);
        walk.GlobalMask = (s->Cr4 & Cr4.Pge) != 0 ? (ulong)TlbRights.Global : 0;
        walk.FetchError = PageWalker.ReportsFetches(s) ? (ulong)AccessKind.Execute : 0;
        walk.KernelMode = (ulong)((s->Cr4 & Cr4.Smap) != 0 ? TlbMode.SupervisorSmap : TlbMode.Supervisor);
        walk.PageCount = physical.Memory.AddressSpaceSize / GuestMemory.PageSize;
        for (int mode = 0; mode < TlbMemory.ModeCount; mode++)
        {
            ulong rights = 0;
            for (int index = 0; index < 8; index++)
            {
                bool isUser = (TlbMode)mode is TlbMode.User or TlbMode.UserAligned;
                var denied = (PageWalker.Denied)index;
                rights |= (ulong)PageWalker.RightsOf(s, denied, isUser, smapActive: (TlbMode)mode == TlbMode.SupervisorSmap) << (8 * index);
            }

            walk.Rights[mode] = rights;
        }
    }

    private void Select(int slot, TlbMode mode)
    {
        CpuState* s = _cpu.State;
        for (int i = 0; i < TlbMemory.ModeCount; i++)
            s->TlbModes[i] = _slots[slot].Modes[i];
        CodeTags.Select(slot);
        s->Tlb = (void*)s->TlbModes[(int)mode];
    }
}
