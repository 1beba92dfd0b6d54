using Doppel.Host.Memory;

namespace Doppel.Machine.Cpu.Mmu;

/// <summary>
/// The memory of one vCPU's TLB: a table for each slot and mode. Each has a lower half of its own. The upper halves, which
/// a kernel shares between its address spaces, are the same memory in all slots, and in both supervisor modes: a user page
/// is the only one that these could tell apart, and is not cached there.
/// </summary>
internal sealed unsafe class TlbMemory : IDisposable
{
    internal const int ModeCount = 4;
    internal const int UpperCount = 3;
    private const ulong HalfTotal = TlbLayout.Arrays * TlbLayout.HalfBytes;
    private const ulong SlotBytes = 4096;
    private readonly AliasedMemory _memory;
    private readonly bool[] _isMapped;
    private readonly ulong _tables;

    internal TlbMemory(int slots)
    {
        _isMapped = new bool[slots];
        _tables = (ulong)(slots * ModeCount);
        ulong slotsInFile = (_tables + UpperCount) * HalfTotal;
        ulong slotsInRange = _tables * TlbLayout.TableBytes;
        _memory = new AliasedMemory("doppel-tlb", slotsInFile + SlotBytes, slotsInRange + SlotBytes);
        _memory.Map(slotsInRange, slotsInFile, SlotBytes);
        Slots = (TlbSlot*)(_memory.Base + slotsInRange);
        for (int slot = 0; slot < slots; slot++)
        {
            Slots[slot].Pcid = TlbSlot.NoPcid;
            for (int mode = 0; mode < ModeCount; mode++)
                Slots[slot].Modes[mode] = (ulong)Table(slot, mode);
        }

        MapSlot(0);
        for (int i = 0; i < UpperCount; i++)
            Upper(i).Initialize(default);
    }

    /// <summary>The slots' records.</summary>
    internal TlbSlot* Slots { get; }

    /// <summary>The table of a slot and mode.</summary>
    internal byte* Table(int slot, int mode) => _memory.Base + ((ulong)((slot * ModeCount) + mode) * TlbLayout.TableBytes);

    /// <summary>Whether <see cref="MapSlot"/> has made a slot's tables. Any thread.</summary>
    internal bool IsMapped(int slot) => Volatile.Read(ref _isMapped[slot]);

    /// <summary>The lower half of a slot's table.</summary>
    internal TlbHalf Lower(int slot, int mode) => new(Table(slot, mode));

    /// <summary>An upper half: of user mode, of both supervisor modes, of user mode with alignment checks.</summary>
    internal TlbHalf Upper(int index) => new(Table(0, index == 2 ? (int)TlbMode.UserAligned : index) + TlbLayout.HalfBytes);

    /// <summary>The half of a table that holds an address.</summary>
    internal static TlbHalf HalfOf(byte* table, ulong address) => new(table + ((address >> (47 - 3 - TlbLayout.IndexBits)) & TlbLayout.HalfBytes));

    /// <summary>Makes the tables of a slot, which are empty at first.</summary>
    internal void MapSlot(int slot)
    {
        for (int mode = 0; mode < ModeCount; mode++)
        {
            ulong start = (ulong)(Table(slot, mode) - _memory.Base);
            ulong lower = (ulong)((slot * ModeCount) + mode) * HalfTotal;
            int index = (TlbMode)mode switch
            {
                TlbMode.User => 0,
                TlbMode.UserAligned => 2,
                _ => 1,
            };
            ulong upper = (_tables + (ulong)index) * HalfTotal;
            for (ulong array = 0; array < TlbLayout.Arrays; array++)
            {
                ulong half = array * TlbLayout.HalfBytes;
                _memory.Map(start + (2 * half), lower + half, TlbLayout.HalfBytes);
                _memory.Map(start + (2 * half) + TlbLayout.HalfBytes, upper + half, TlbLayout.HalfBytes);
            }

            Lower(slot, mode).Initialize((TlbMode)mode);
        }

        Volatile.Write(ref _isMapped[slot], true);
    }

    public void Dispose() => _memory.Dispose();
}
