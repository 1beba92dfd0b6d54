using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Memory;
using Doppel.Machine.Tests.System;

namespace Doppel.Machine.Tests.Mmu;

/// <summary>
/// A vCPU with empty page tables of its own. Tables are taken from 10000h on; what is mapped is the test's affair. WP is
/// set, NXE too where the mode has it; everything else is off.
/// </summary>
internal sealed unsafe class PagingGuest : IDisposable
{
    internal const ulong P = 1;
    internal const ulong W = 2;
    internal const ulong U = 4;
    internal const ulong A = 0x20;
    internal const ulong D = 0x40;
    internal const ulong Ps = 0x80;
    internal const ulong G = 0x100;
    internal const ulong Nx = 1UL << 63;

    private readonly TestCpu _test;
    private readonly PagingMode _mode;
    private ulong _nextTable = 0x10000;

    internal PagingGuest(PagingMode mode, CpuModel? model = null, int tlbSpaces = TlbSlot.MaximumCount)
    {
        _mode = mode;
        _test = new TestCpu(model, tlbSpaces: tlbSpaces).InProtectedMode();
        if (mode == PagingMode.FourLevel)
            _test.InLongMode();
        CpuState* s = _test.State;
        s->Cr4 = mode == PagingMode.TwoLevel ? Cr4.Pse : Cr4.Pae;
        s->Cr0 |= Cr0.Pg | Cr0.Wp;
        if (mode == PagingMode.Pae)
            s->Efer = Efer.Nxe;
        Root = NewTable();
        s->Cr3 = Root;
        for (uint i = 0; mode == PagingMode.Pae && i < 4; i++)
        {
            s->Pdpte[i] = NewTable() | P;
            Set(Root + (8 * i), s->Pdpte[i]);
        }

        Cpu.Tlb.FlushAll();
        Cpu.ModeChanged();
    }

    internal VirtualCpu Cpu => _test.Cpu;

    internal CpuState* State => _test.State;

    internal GuestMemory Memory => _test.Memory;

    internal PhysicalAddressSpace Physical => _test.Physical;

    internal TestCpu Test => _test;

    /// <summary>The top table.</summary>
    internal ulong Root { get; set; }

    internal int EntrySize => _mode == PagingMode.TwoLevel ? 4 : 8;

    internal int Levels => _mode switch
    {
        PagingMode.TwoLevel => 2,
        PagingMode.Pae => 3,
        _ => 4,
    };

    private int IndexBits => _mode == PagingMode.TwoLevel ? 10 : 9;

    /// <summary>Puts an entry at a level (1: page table) and what leads to it, with all rights, above. Returns the entry's address.</summary>
    internal ulong Map(ulong linear, ulong entry, int level = 1)
    {
        ulong slot = SlotOf(linear, level, create: true);
        Set(slot, entry);
        return slot;
    }

    /// <summary>The address of the entry of a level that translates a linear address; the levels above must exist.</summary>
    internal ulong SlotOf(ulong linear, int level, bool create = false)
    {
        ulong table = Root;
        for (int i = Levels; ; i--)
        {
            ulong index = (linear >> (12 + ((i - 1) * IndexBits))) & ((1UL << (_mode == PagingMode.Pae && i == 3 ? 2 : IndexBits)) - 1);
            ulong slot = table + (index * (uint)EntrySize);
            if (i == level)
                return slot;
            if (Get(slot) == 0 && create)
                Set(slot, NewTable() | P | W | U);
            table = Get(slot) & 0x000FFFFFFFFFF000;
        }
    }

    internal ulong Get(ulong slot) => EntrySize == 4 ? *(uint*)(Memory.Base + slot) : *(ulong*)(Memory.Base + slot);

    internal void Set(ulong slot, ulong entry)
    {
        if (EntrySize == 4)
            *(uint*)(Memory.Base + slot) = (uint)entry;
        else
            *(ulong*)(Memory.Base + slot) = entry;
    }

    internal ulong NewTable()
    {
        _nextTable += 0x1000;
        return _nextTable - 0x1000;
    }

    internal void SetCpl(int cpl) => _test.SetCpl(cpl);

    internal void SetAc(bool value)
    {
        State->Flags = value ? State->Flags | CpuFlags.Ac : State->Flags & ~CpuFlags.Ac;
        Cpu.ModeChanged();
    }

    internal void SetCr0(ulong set, ulong clear = 0) => ControlRegisters.Write(Cpu, 0, (State->Cr0 | set) & ~clear);

    internal void SetCr4(ulong set, ulong clear = 0) => ControlRegisters.Write(Cpu, 4, (State->Cr4 | set) & ~clear);

    internal ulong Translate(ulong linear, AccessKind access = AccessKind.Read) => Cpu.Tlb.Translate(linear, access);

    /// <summary>The error code of the page fault that an access must raise at this very address.</summary>
    internal uint ErrorOf(ulong linear, AccessKind access = AccessKind.Read)
    {
        FaultRecord fault = FaultRecord.Of(() => Translate(linear, access));
        Assert.Equal(ExceptionVector.PageFault, fault.Vector);
        Assert.Equal(linear, fault.Address);
        return fault.ErrorCode;
    }

    public void Dispose() => _test.Dispose();
}
