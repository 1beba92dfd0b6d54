using Doppel.Machine.Cpu.Mmu;
using Iced.Intel;
using static Doppel.Engines.Translator.EmittedStub;
using static Doppel.Engines.Translator.StubCode;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Translator;

/// <summary>
/// The processor's own accesses in stubs: memory through a table of the TLB, and descriptors of flat segments in the GDT.
/// Changes RCX, RSI and RDI; what is not as expected leaves.
/// </summary>
internal static class DescriptorCode
{
    // Whether it may be read and AVL do not matter; the accessed bit must be set.
    private const ulong CodeMask = ~((1UL << 41) | (1UL << 52));
    private const ulong FlatCode = 0x00AF99000000FFFF;

    // AVL, L and B do not matter.
    private const ulong DataMask = ~((1UL << 52) | (1UL << 53) | (1UL << 54));
    private const ulong FlatData = 0x008F93000000FFFF;
    private const int LevelShift = 45;

    /// <summary>Makes the host address of a linear one that a table of the TLB holds.</summary>
    /// <param name="a">Where to.</param>
    /// <param name="address">The linear address; becomes that of the host. Not RSI or RDI.</param>
    /// <param name="table">Where in the vCPU's state the table's address is.</param>
    /// <param name="tag">The array of tags: <see cref="TlbLayout.ReadTag"/> or <see cref="TlbLayout.WriteTag"/>.</param>
    /// <param name="size">Bytes accessed; they must lie in one page.</param>
    /// <param name="leave">Where a miss goes.</param>
    internal static void Translate(Assembler a, AssemblerRegister64 address, int table, int tag, int size, Label leave)
    {
        a.pext(rsi, address, Slot(StateLayout.IndexMask));
        a.mov(rdi, Slot(table));
        a.lea(rsi, __[rdi + (rsi * 8)]);
        a.mov(rdi, __qword_ptr[rsi + tag]);
        a.lea(rdi, __[rdi + address + (size - 1)]);
        a.cmp(rdi, 4096);
        a.jae(leave);
        a.add(address, __qword_ptr[rsi + TlbLayout.Addend]);
    }

    /// <summary>Limit and attributes of a 64-bit code segment of a level, into RSI.</summary>
    /// <param name="a">Where to.</param>
    /// <param name="selector">Its selector, zero-extended.</param>
    /// <param name="level">The privilege level that it must have.</param>
    /// <param name="table">As for <see cref="Translate"/>.</param>
    /// <param name="leave">Where anything else goes.</param>
    internal static void LoadCode(Assembler a, AssemblerRegister32 selector, int level, int table, Label leave) =>
        Load(a, selector, CodeMask, FlatCode, level, table, leave);

    /// <summary>The same of a writable data segment.</summary>
    internal static void LoadData(Assembler a, AssemblerRegister32 selector, int level, int table, Label leave) =>
        Load(a, selector, DataMask, FlatData, level, table, leave);

    private static void Load(Assembler a, AssemblerRegister32 selector, ulong mask, ulong value, int level, int table, Label leave)
    {
        a.test(selector, 4);
        a.jnz(leave);
        a.test(selector, 0xFFFC);
        a.jz(leave);
        a.mov(Check32, selector);
        a.or(Check32, 7);
        a.cmp(Check32, Slot32(SystemSlots.Gdtr + SystemSlots.TableLimit));
        a.ja(leave);
        a.and(Check32, ~7);
        a.add(Check, Slot(SystemSlots.Gdtr));
        Translate(a, Check, table, TlbLayout.ReadTag, sizeof(ulong), leave);
        a.mov(Check, __qword_ptr[Check]);
        a.mov(rsi, mask);
        a.and(rsi, Check);
        a.mov(rdi, value | ((ulong)level << LevelShift));
        a.cmp(rsi, rdi);
        a.jne(leave);

        // A flat segment's limit is all ones.
        a.shr(Check, 40);
        a.and(Check32, 0xF0FF);
        a.shl(Check, 32);
        a.mov(esi, -1);
        a.or(rsi, Check);
    }
}
