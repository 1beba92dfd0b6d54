using Doppel.Machine.Memory;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// The software TLB of one vCPU. There is a table for each recent PCID and each mode of access (user, supervisor under
/// SMAP, supervisor without, user with alignment checks), so that a change of privilege or of address space is a change
/// of one pointer, <see cref="CpuState.Tlb"/>. A flush of everything raises a generation number; a table that is not in
/// use is emptied when it is next selected.
/// </summary>
/// <remarks>Belongs to the vCPU's thread, except <see cref="DropWrite"/> and <see cref="RequestFlush"/>.</remarks>
public sealed unsafe class SoftTlb : IDisposable
{
    private const int SlotCount = 8;
    private const int ModeCount = 4;
    private readonly VirtualCpu _cpu;
    private readonly TlbTable?[] _tables = new TlbTable?[SlotCount * ModeCount];
    private readonly int[] _slotPcid = new int[SlotCount];
    private readonly ulong[] _slotUsed = new ulong[SlotCount];
    private uint _generation = 1;
    private ulong _useCounter;
    private int _slot;
    private volatile bool _flushRequested;

    internal SoftTlb(VirtualCpu cpu)
    {
        _cpu = cpu;
        CodeTags = new CodeTags(cpu.State, SlotCount);
        Array.Fill(_slotPcid, -1);
        _slotPcid[0] = 0;
        cpu.Physical.AddTlb(this);
        Publish(TlbMode.Supervisor);
        SelectTable();
    }

    /// <summary>What addresses of code mean at present.</summary>
    public CodeTags CodeTags { get; }

    /// <summary>Slow look-ups that found a cached translation, walks made, and flushes of a whole address space.</summary>
    public ulong SlowHits { get; private set; }

    /// <summary>Page walks made.</summary>
    public ulong Walks { get; private set; }

    /// <summary>Flushes of an address space or of everything.</summary>
    public ulong Flushes { get; private set; }

    /// <summary>The mode that <see cref="CpuState.Tlb"/> stands for; emitted code may have changed it.</summary>
    private TlbMode Mode
    {
        get
        {
            CpuState* s = _cpu.State;
            int mode = 0;
            while (s->TlbModes[mode] != (ulong)s->Tlb)
                mode++;
            return (TlbMode)mode;
        }
    }

    /// <summary>Points <see cref="CpuState.Tlb"/> at the table for the current privilege, SMAP and alignment state.</summary>
    internal void SelectTable()
    {
        CpuState* s = _cpu.State;
        TlbMode mode;
        if (s->Cpl == 3)
            mode = (s->Cr0 & Cr0.Am) != 0 && (s->FlagSystem & CpuFlags.Ac) != 0 ? TlbMode.UserAligned : TlbMode.User;
        else
            mode = (s->Cr4 & Cr4.Smap) != 0 && (s->FlagSystem & CpuFlags.Ac) == 0 ? TlbMode.SupervisorSmap : TlbMode.Supervisor;
        _cpu.CodeGeneration++;
        s->Tlb = (void*)s->TlbModes[(int)mode];
    }

    /// <summary>MOV CR3 and its like: a new address space (Intel SDM vol. 3, 4.10.4.1).</summary>
    /// <param name="pcid">The PCID, 0 when CR4.PCIDE is clear.</param>
    /// <param name="keep">Bit 63 of the source: what is cached for that PCID stays.</param>
    public void SelectAddressSpace(int pcid, bool keep)
    {
        int slot = Array.IndexOf(_slotPcid, pcid);
        bool isFlushed = slot < 0 || !keep;
        if (slot < 0)
        {
            slot = 0;
            for (int i = 1; i < SlotCount; i++)
            {
                if (_slotPcid[i] < 0 || (_slotPcid[slot] >= 0 && _slotUsed[i] < _slotUsed[slot]))
                    slot = i;
            }

            _slotPcid[slot] = pcid;
            FlushSlot(slot, keepGlobal: false);
        }
        else if (!keep)
        {
            FlushSlot(slot, keepGlobal: true);
        }

        _slotUsed[slot] = ++_useCounter;
        TlbMode mode = Mode;
        _slot = slot;
        CodeTags.Select(slot, isFlushed);
        _cpu.CodeGeneration++;
        Publish(mode);
    }

    /// <summary>Drops everything, global translations included. O(1) but for the tables in use.</summary>
    public void FlushAll()
    {
        _flushRequested = false;
        Flushes++;
        _generation++;
        _cpu.CodeGeneration++;
        CodeTags.DropAll();
        Publish(Mode);
    }

    /// <summary>Drops what is not global, in every address space (INVPCID type 3).</summary>
    public void FlushNonGlobal()
    {
        for (int slot = 0; slot < SlotCount; slot++)
            FlushSlot(slot, keepGlobal: true);
    }

    /// <summary>Drops what is not global of one PCID (INVPCID type 1).</summary>
    public void FlushPcid(int pcid)
    {
        int slot = Array.IndexOf(_slotPcid, pcid);
        if (slot >= 0)
            FlushSlot(slot, keepGlobal: true);
    }

    /// <summary>INVLPG: drops a page everywhere, with the whole large page that it is part of.</summary>
    public void FlushPage(ulong address)
    {
        _cpu.CodeGeneration++;
        CodeTags.DropPage(address);
        foreach (TlbTable? table in _tables)
            table?.FlushPage(address);
    }

    /// <summary>INVPCID type 0: drops a page of one PCID.</summary>
    public void FlushPage(ulong address, int pcid)
    {
        int slot = Array.IndexOf(_slotPcid, pcid);
        if (slot < 0)
            return;
        _cpu.CodeGeneration++;
        CodeTags.DropPage(address);
        for (int mode = 0; mode < ModeCount; mode++)
            _tables[(slot * ModeCount) + mode]?.FlushPage(address);
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

    /// <summary>Makes every write to a guest-physical page take the slow path. Any thread.</summary>
    public void DropWrite(ulong physicalPage)
    {
        foreach (TlbTable? table in _tables)
            table?.DropWrite(physicalPage);
    }

    /// <summary>
    /// The guest-physical address of a linear one in the current mode, from the cache or by a walk that fills it.
    /// Sets accessed and dirty bits. Throws #PF.
    /// </summary>
    public ulong Translate(ulong address, AccessKind access) => Translate(address, access, (int)Mode);

    /// <summary>The same, but a #PF is returned instead of thrown; it is valid until the vCPU's next fault.</summary>
    public GuestFault? TryTranslate(ulong address, AccessKind access, out ulong physical) => TryTranslate(address, access, (int)Mode, out physical);

    /// <summary>The same as an implicit supervisor access (descriptor tables, TSS): RFLAGS.AC does not override SMAP.</summary>
    public ulong TranslateSystem(ulong address, AccessKind access) =>
        Translate(address, access, (int)((_cpu.State->Cr4 & Cr4.Smap) != 0 ? TlbMode.SupervisorSmap : TlbMode.Supervisor));

    /// <summary>
    /// Notes in <see cref="CodeTags"/> that an engine caches addresses of a page. The page must just have been translated
    /// for execution.
    /// </summary>
    public void MarkCode(ulong address)
    {
        TlbDetail detail = Table(_slot, (int)Mode).Details[TlbTable.IndexOf(address)];
        if (detail.Page == ((address & ~0xFFFUL) | 1))
            CodeTags.Mark(address, detail.Rights);
    }

    /// <summary>Whether an access would take the fast path in the current mode.</summary>
    public bool Hits(ulong address, int size, bool isWrite)
    {
        TlbEntry* entry = (TlbEntry*)_cpu.State->Tlb + TlbTable.IndexOf(address);
        return (isWrite ? entry->WriteTag : entry->ReadTag) + address + (uint)(size - 1) < 4096;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cpu.Physical.RemoveTlb(this);
        foreach (TlbTable? table in _tables)
            table?.Dispose();
    }

    private ulong Translate(ulong address, AccessKind access, int mode) =>
        TryTranslate(address, access, mode, out ulong physical) is { } fault ? throw fault : physical;

    private GuestFault? TryTranslate(ulong address, AccessKind access, int mode, out ulong result)
    {
        TlbTable table = Table(_slot, mode);
        int index = TlbTable.IndexOf(address);
        ulong page = address & ~0xFFFUL;
        ref TlbDetail detail = ref table.Details[index];
        TlbRights wanted = access switch
        {
            AccessKind.Write => TlbRights.Write,
            AccessKind.Execute => TlbRights.Execute,
            _ => TlbRights.Read,
        };
        if (detail.Page == (page | 1) && (detail.Rights & wanted) != 0)
        {
            SlowHits++;
            // The page may have stopped being watched since the entry was filled.
            if (access == AccessKind.Write && table.Entries[index].WriteTag != 0UL - page)
                SetTags(table, index, page, detail.Physical, detail.Rights, mode);
            result = detail.Physical | (address & 0xFFF);
            return null;
        }

        Walks++;
        bool isUser = mode is (int)TlbMode.User or (int)TlbMode.UserAligned;
        result = 0;
        if (PageWalker.TryWalk(_cpu, address, access, isUser, smapActive: mode == (int)TlbMode.SupervisorSmap, out Translation translation) is { } fault)
            return fault;
        ulong physical = translation.Physical & _cpu.Physical.AddressMask & ~0xFFFUL;
        table.Fill(index, page, physical, translation.Rights);
        SetTags(table, index, page, physical, translation.Rights, mode);
        result = physical | (address & 0xFFF);
        return null;
    }

    private void SetTags(TlbTable table, int index, ulong page, ulong physical, TlbRights rights, int mode)
    {
        GuestMemory memory = _cpu.Physical.Memory;
        ref TlbEntry entry = ref table.Entries[index];
        ulong invalid = TlbTable.InvalidTag(index);
        ulong tag = 0UL - page;
        PageFlags flags = _cpu.Physical.FlagsOf(physical);
        entry.ReadTag = entry.WriteTag = entry.ExecuteTag = invalid;
        if ((flags & (PageFlags.Ram | PageFlags.Rom)) == 0)
            return;
        entry.Addend = (ulong)(memory.Base + physical) - page;
        if ((rights & TlbRights.Execute) != 0)
            entry.ExecuteTag = tag;
        // With alignment checks or breakpoints on, and on a watched page, data accesses always take the slow path.
        if (mode == (int)TlbMode.UserAligned || (flags & PageFlags.Watched) != 0 || (_cpu.State->Dr[7] & 0xFF) != 0)
            return;
        if (_cpu.Debug is { } debug && debug.Breakpoints.WatchesPage(page))
            return;
        if ((rights & TlbRights.Read) != 0)
            entry.ReadTag = tag;
        if ((rights & TlbRights.Write) == 0 || (flags & PageFlags.Ram) == 0)
            return;
        memory.SetFlags(physical, PageFlags.Dirty);
        Volatile.Write(ref entry.WriteTag, tag);
        Interlocked.MemoryBarrier();
        if ((memory.FlagsOf(physical) & (PageFlags.Code | PageFlags.PageTable | PageFlags.Watched)) != 0)
            Volatile.Write(ref entry.WriteTag, invalid);
    }

    private void FlushSlot(int slot, bool keepGlobal)
    {
        Flushes++;
        _cpu.CodeGeneration++;
        CodeTags.DropSpace(slot);
        for (int mode = 0; mode < ModeCount; mode++)
            _tables[(slot * ModeCount) + mode]?.Flush(keepGlobal);
    }

    private void Publish(TlbMode current)
    {
        CpuState* s = _cpu.State;
        for (int mode = 0; mode < ModeCount; mode++)
            s->TlbModes[mode] = (ulong)Table(_slot, mode).Entries;
        s->Tlb = (void*)s->TlbModes[(int)current];
    }

    private TlbTable Table(int slot, int mode)
    {
        TlbTable table = _tables[(slot * ModeCount) + mode] ??= new TlbTable { Generation = _generation };
        if (table.Generation != _generation)
        {
            table.Flush(keepGlobal: false);
            table.Generation = _generation;
        }

        return table;
    }
}
