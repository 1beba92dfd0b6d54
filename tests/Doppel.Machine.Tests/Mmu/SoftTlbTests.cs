using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Memory;
using static Doppel.Machine.Tests.Mmu.PagingGuest;

namespace Doppel.Machine.Tests.Mmu;

public sealed unsafe class SoftTlbTests
{
    private const ulong Linear = 0x00C03000;
    private const ulong First = 0x00345000;
    private const ulong Second = 0x00346000;

    [Theory]
    [InlineData(PagingMode.TwoLevel)]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void A_translation_is_cached_until_invlpg(PagingMode mode)
    {
        using var guest = new PagingGuest(mode);
        guest.Map(Linear, First | P | W);
        Assert.Equal(First, guest.Translate(Linear));
        guest.Map(Linear, Second | P | W);
        Assert.Equal(First, guest.Translate(Linear));
        ControlRegisters.Invlpg(guest.Cpu, Linear + 0x1000);
        Assert.Equal(First, guest.Translate(Linear));
        ControlRegisters.Invlpg(guest.Cpu, Linear + 0xFFF);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void A_fault_is_never_cached()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0);
        Assert.Equal(0u, guest.ErrorOf(Linear));
        guest.Map(Linear, First | P);
        Assert.Equal(First, guest.Translate(Linear));
        Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
        guest.Map(Linear, First | P | W);
        Assert.Equal(First, guest.Translate(Linear, AccessKind.Write));
    }

    [Theory]
    [InlineData(PagingMode.TwoLevel, 2, 22)]
    [InlineData(PagingMode.Pae, 2, 21)]
    [InlineData(PagingMode.FourLevel, 2, 21)]
    [InlineData(PagingMode.FourLevel, 3, 30)]
    public void Invlpg_anywhere_in_a_large_page_drops_all_of_it_and_nothing_else(PagingMode mode, int level, int shift)
    {
        using var guest = new PagingGuest(mode);
        ulong size = 1UL << shift, start = 2 * size;
        ulong slot = guest.Map(start, P | W | Ps, level);
        ulong[] inside = [0, 0x5000, size / 2, (size / 2) + 0x7000, size - 0x1000];
        ulong small = mode == PagingMode.FourLevel ? 0x40_0012_3000UL : Linear;
        guest.Map(small, First | P);
        foreach (ulong offset in inside)
        {
            guest.Set(slot, P | W | Ps);
            guest.Cpu.Tlb.FlushAll();
            Assert.Equal(First, guest.Translate(small));
            foreach (ulong other in inside.Where(o => o != offset))
                Assert.Equal(other, guest.Translate(start + other));
            guest.Set(slot, size | P | W | Ps);
            ulong walks = guest.Cpu.Tlb.Walks;
            ControlRegisters.Invlpg(guest.Cpu, start + offset + 0x123);
            foreach (ulong other in inside)
                Assert.Equal(size + other, guest.Translate(start + other));
            Assert.Equal(walks + (ulong)inside.Length, guest.Cpu.Tlb.Walks);
            Assert.Equal(First, guest.Translate(small));
            Assert.Equal(walks + (ulong)inside.Length, guest.Cpu.Tlb.Walks);
        }
    }

    [Fact]
    public void A_large_page_that_became_small_ones_is_forgotten_by_one_invlpg()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        ulong pde = guest.Map(0x00800000, P | W | Ps, level: 2);
        Assert.Equal(0x3000UL, guest.Translate(0x00803000));
        Assert.Equal(0x4000UL, guest.Translate(0x00804000));
        guest.Set(pde, 0);
        guest.Map(0x00803000, First | P | W);
        guest.Map(0x00804000, Second | P | W);
        ControlRegisters.Invlpg(guest.Cpu, 0x00803000);
        Assert.Equal(First, guest.Translate(0x00803000));
        Assert.Equal(Second, guest.Translate(0x00804000));
    }

    [Fact]
    public void Global_pages_survive_a_load_of_cr3_but_not_a_toggle_of_pge()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.SetCr4(Cr4.Pge);
        guest.Map(Linear, First | P | G);
        guest.Map(Linear + 0x1000, First | P);
        _ = guest.Translate(Linear);
        _ = guest.Translate(Linear + 0x1000);
        guest.Map(Linear, Second | P | G);
        guest.Map(Linear + 0x1000, Second | P);
        ControlRegisters.Write(guest.Cpu, 3, guest.Root);
        Assert.Equal(First, guest.Translate(Linear));
        Assert.Equal(Second, guest.Translate(Linear + 0x1000));
        guest.SetCr4(0, Cr4.Pge);
        guest.SetCr4(Cr4.Pge);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void Without_pge_the_global_bit_means_nothing()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, First | P | G);
        _ = guest.Translate(Linear);
        guest.Map(Linear, Second | P | G);
        ControlRegisters.Write(guest.Cpu, 3, guest.Root);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void Invlpg_drops_a_global_page_in_every_address_space()
    {
        using PagingGuest guest = WithPcid(out ulong other);
        guest.SetCr4(Cr4.Pge);
        ulong root = guest.Root;
        guest.Map(Linear, First | P | G);
        _ = guest.Translate(Linear);
        Load(guest, other, 1, keep: true);
        guest.Root = other;
        guest.Map(Linear, First | P | G);
        _ = guest.Translate(Linear);
        guest.Map(Linear, Second | P | G);
        guest.Root = root;
        guest.Map(Linear, Second | P | G);
        ControlRegisters.Invlpg(guest.Cpu, Linear);
        Assert.Equal(Second, guest.Translate(Linear));
        Load(guest, root, 0, keep: true);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void Pcids_keep_address_spaces_apart_and_bit_63_keeps_them_cached()
    {
        using PagingGuest guest = WithPcid(out ulong other);
        ulong root = guest.Root;
        guest.Map(Linear, First | P);
        guest.Root = other;
        guest.Map(Linear, Second | P);
        Assert.Equal(First, guest.Translate(Linear));
        Load(guest, other, 1, keep: false);
        Assert.Equal(Second, guest.Translate(Linear));

        // Both change in memory; bit 63 keeps what is cached.
        guest.Map(Linear, First | P);
        guest.Root = root;
        guest.Map(Linear, Second | P);
        Load(guest, root, 0, keep: true);
        Assert.Equal(First, guest.Translate(Linear));
        Load(guest, other, 1, keep: true);
        Assert.Equal(Second, guest.Translate(Linear));

        // Without it, that PCID alone is flushed.
        Load(guest, other, 1, keep: false);
        Assert.Equal(First, guest.Translate(Linear));
        Load(guest, root, 0, keep: true);
        Assert.Equal(First, guest.Translate(Linear));
        Load(guest, root, 0, keep: false);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(16)]
    public void More_pcids_than_slots_stay_correct(int slots)
    {
        using PagingGuest guest = WithPcid(out _, slots);
        Assert.Equal(slots, guest.Cpu.Tlb.SlotCount);
        ulong[] roots = new ulong[40];
        for (int i = 0; i < roots.Length; i++)
        {
            guest.Root = roots[i] = guest.NewTable();
            guest.Map(Linear, (0x00400000UL + ((ulong)i << 12)) | P);
        }

        var random = new Random(7);
        for (int i = 0; i < 2000; i++)
        {
            int pcid = random.Next(roots.Length);
            Load(guest, roots[pcid], pcid + 1, keep: true);
            Assert.Equal(0x00400000UL + ((ulong)pcid << 12), guest.Translate(Linear));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Invpcid_drops_what_its_type_says(ulong type)
    {
        using PagingGuest guest = WithPcid(out ulong other);
        guest.SetCr4(Cr4.Pge);
        ulong root = guest.Root;
        ulong globalPage = Linear + 0x2000;

        // PCID 1: two pages and a global one; PCID 0: one page.
        guest.Map(Linear, First | P);
        _ = guest.Translate(Linear);
        guest.Root = other;
        guest.Map(Linear, First | P);
        guest.Map(Linear + 0x1000, First | P);
        guest.Map(globalPage, First | P | G);
        Load(guest, other, 1, keep: true);
        _ = guest.Translate(Linear);
        _ = guest.Translate(Linear + 0x1000);
        _ = guest.Translate(globalPage);
        guest.Map(Linear, Second | P);
        guest.Map(Linear + 0x1000, Second | P);
        guest.Map(globalPage, Second | P | G);
        guest.Root = root;
        guest.Map(Linear, Second | P);

        ControlRegisters.Invpcid(guest.Cpu, type, type <= 1 ? 1UL : 0, Linear);
        Assert.Equal(Second, guest.Translate(Linear));
        Assert.Equal(type == 0 ? First : Second, guest.Translate(Linear + 0x1000));
        Assert.Equal(type == 2 ? Second : First, guest.Translate(globalPage));
        Load(guest, root, 0, keep: true);
        Assert.Equal(type <= 1 ? First : Second, guest.Translate(Linear));
    }

    [Fact]
    public void Clearing_pcide_flushes_everything()
    {
        using PagingGuest guest = WithPcid(out ulong other);
        guest.Root = other;
        guest.Map(Linear, First | P);
        Load(guest, other, 1, keep: true);
        _ = guest.Translate(Linear);
        guest.Map(Linear, Second | P);
        guest.SetCr4(0, Cr4.Pcide);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void Toggles_that_change_rights_drop_cached_translations()
    {
        (Action<PagingGuest> Set, Action<PagingGuest> Clear)[] toggles =
        [
            (g => g.SetCr0(Cr0.Wp), g => g.SetCr0(0, Cr0.Wp)),
            (g => g.SetCr4(Cr4.Smep), g => g.SetCr4(0, Cr4.Smep)),
            (g => g.SetCr4(Cr4.Pge), g => g.SetCr4(0, Cr4.Pge)),
            (g => g.SetCr4(Cr4.Pse), g => g.SetCr4(0, Cr4.Pse)),
            (
                g => Msrs.Write(g.Cpu, MsrIndex.Efer, g.State->Efer | Efer.Nxe),
                g => Msrs.Write(g.Cpu, MsrIndex.Efer, g.State->Efer & ~Efer.Nxe)),
        ];
        foreach ((Action<PagingGuest> set, Action<PagingGuest> clear) in toggles)
        {
            using var guest = new PagingGuest(PagingMode.FourLevel);
            clear(guest);
            foreach (Action<PagingGuest> toggle in new[] { set, clear })
            {
                guest.Map(Linear, First | P);
                _ = guest.Translate(Linear);
                guest.Map(Linear, Second | P);
                toggle(guest);
                Assert.Equal(Second, guest.Translate(Linear));
                ControlRegisters.Invlpg(guest.Cpu, Linear);
            }
        }
    }

    [Fact]
    public void A_page_becomes_writable_without_a_walk_only_once_it_is_dirty()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        ulong pte = guest.Map(Linear, First | P | W);
        _ = guest.Cpu.Linear.Read<ulong>(Linear);
        Assert.Equal(0UL, guest.Get(pte) & D);
        guest.Cpu.Linear.Write(Linear, 0x1122334455667788UL);
        Assert.Equal(D, guest.Get(pte) & D);
        ulong walks = guest.Cpu.Tlb.Walks;
        guest.Cpu.Linear.Write(Linear + 8, 1UL);
        Assert.Equal(walks, guest.Cpu.Tlb.Walks);

        // Cleared in memory but not flushed, it may stay clear; after INVLPG it is set again.
        guest.Set(pte, First | P | W | A);
        ControlRegisters.Invlpg(guest.Cpu, Linear);
        _ = guest.Cpu.Linear.Read<byte>(Linear);
        Assert.Equal(0UL, guest.Get(pte) & D);
        guest.Cpu.Linear.Write(Linear, (byte)1);
        Assert.Equal(D, guest.Get(pte) & D);
    }

    [Fact]
    public void Writes_mark_guest_pages_dirty_through_the_fast_path_too()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, First | P | W);
        guest.Cpu.Linear.Write(Linear, 1);
        Assert.True(guest.Memory.FlagsOf(First).HasFlag(PageFlags.Dirty));
        Assert.False(guest.Memory.FlagsOf(Second).HasFlag(PageFlags.Dirty));
    }

    [Theory]
    [InlineData(PageFlags.Code)]
    [InlineData(PageFlags.PageTable)]
    [InlineData(PageFlags.Watched)]
    public void A_protected_page_reports_every_write_and_a_released_one_none(PageFlags kind)
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        var seen = new List<(ulong Address, int Length)>();
        guest.Memory.WatchedPageWritten += (address, length) => seen.Add((address, length));
        guest.Map(Linear, First | P | W);
        guest.Cpu.Linear.Write(Linear, 1UL);
        Assert.Empty(seen);

        guest.Physical.Protect(First + 0x123, kind);
        guest.Cpu.Linear.Write(Linear + 8, 2UL);
        guest.Cpu.Linear.Write(Linear + 0x10, (byte)3);
        Assert.Equal([(First + 8, 8), (First + 0x10, 1)], seen);
        Assert.Equal(2UL, guest.Cpu.Linear.Read<ulong>(Linear + 8));

        // A second mapping filled after the protection reports too.
        guest.Map(Linear + 0x5000, First | P | W);
        guest.Cpu.Linear.Write(Linear + 0x5020, (ushort)4);
        Assert.Equal((First + 0x20, 2), seen[^1]);

        guest.Memory.ClearFlags(First, kind);
        seen.Clear();
        guest.Cpu.Linear.Write(Linear + 8, 5UL);
        Assert.Empty(seen);
        Assert.Equal(5UL, guest.Cpu.Linear.Read<ulong>(Linear + 8));
    }

    [Fact]
    public void Accessed_and_dirty_bits_set_in_a_watched_table_are_reported()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        ulong pte = guest.Map(Linear, First | P | W);
        guest.Physical.Protect(pte, PageFlags.PageTable);
        var seen = new List<ulong>();
        guest.Memory.WatchedPageWritten += (address, _) => seen.Add(address);
        _ = guest.Translate(Linear, AccessKind.Write);
        Assert.Equal([pte], seen);
    }

    [Fact]
    public void A_flush_request_of_another_thread_is_carried_out_when_asked_for()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, First | P);
        _ = guest.Translate(Linear);
        guest.Map(Linear, Second | P);
        var thread = new Thread(guest.Cpu.Tlb.RequestFlush);
        thread.Start();
        thread.Join();
        Assert.NotEqual(0, guest.State->PendingEvents & (int)PendingEvents.Flush);
        guest.Cpu.Tlb.FlushIfRequested();
        Assert.Equal(0, guest.State->PendingEvents & (int)PendingEvents.Flush);
        Assert.Equal(Second, guest.Translate(Linear));
    }

    [Fact]
    public void The_a20_gate_masks_physical_addresses_after_the_flush_that_it_asks_for()
    {
        using var guest = new PagingGuest(PagingMode.TwoLevel);
        guest.SetCr0(0, Cr0.Pg);
        guest.Memory.Base[0x500] = 0x11;
        guest.Memory.Base[0x100500] = 0x22;
        Assert.Equal(0x22, guest.Cpu.Linear.Read<byte>(0x100500));
        guest.Physical.SetA20(open: false);
        guest.Cpu.Tlb.FlushIfRequested();
        Assert.Equal(0x11, guest.Cpu.Linear.Read<byte>(0x100500));
        guest.Physical.SetA20(open: true);
        guest.Cpu.Tlb.FlushIfRequested();
        Assert.Equal(0x22, guest.Cpu.Linear.Read<byte>(0x100500));
    }

    [Fact]
    public void The_kernels_half_does_not_evict_the_processs()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, First | P);
        guest.Map(0xFFFF800000000000 | Linear, Second | P);
        _ = guest.Translate(Linear);
        _ = guest.Translate(0xFFFF800000000000 | Linear);
        ulong walks = guest.Cpu.Tlb.Walks;
        Assert.Equal(First, guest.Translate(Linear));
        Assert.Equal(Second, guest.Translate(0xFFFF800000000000 | Linear));
        Assert.Equal(walks, guest.Cpu.Tlb.Walks);
    }

    [Fact]
    public void Global_pages_of_the_upper_half_are_common_to_all_pcids_and_others_are_not()
    {
        using PagingGuest guest = WithPcid(out ulong other);
        guest.SetCr4(Cr4.Pge);
        ulong root = guest.Root;
        const ulong Kernel = 0xFFFF800000000000;
        foreach (ulong space in new[] { root, other })
        {
            guest.Root = space;
            guest.Map(Kernel | Linear, First | P | G);
            guest.Map(Kernel | 0x5000, (space == root ? First : Second) | P);
        }

        ulong kernelTag = guest.State->CodeTags[CodeTags.Upper];
        ulong spaceTag = guest.State->CodeTags[CodeTags.Lower];
        Assert.Equal(First, guest.Translate(Kernel | Linear));
        ulong walks = guest.Cpu.Tlb.Walks;
        Load(guest, other, 1, keep: true);
        Assert.Equal(kernelTag, guest.State->CodeTags[CodeTags.Upper]);
        Assert.NotEqual(spaceTag, guest.State->CodeTags[CodeTags.Lower]);
        Assert.Equal(First, guest.Translate(Kernel | Linear));
        Assert.Equal(walks, guest.Cpu.Tlb.Walks);
        Assert.Equal(Second, guest.Translate(Kernel | 0x5000));
        guest.Cpu.Tlb.MarkCode(Kernel | 0x5000);
        Load(guest, root, 0, keep: true);
        Assert.NotEqual(kernelTag, guest.State->CodeTags[CodeTags.Upper]);
        Assert.Equal(spaceTag, guest.State->CodeTags[CodeTags.Lower]);
        Assert.Equal(First, guest.Translate(Kernel | 0x5000));
        Assert.Equal(First, guest.Translate(Kernel | Linear));
        Assert.Equal(walks + 2, guest.Cpu.Tlb.Walks);

        ControlRegisters.Invlpg(guest.Cpu, Linear);
        Assert.Equal(spaceTag, guest.State->CodeTags[CodeTags.Lower]);
        guest.Root = root;
        guest.Map(Linear, First | P);
        _ = guest.Translate(Linear);
        guest.Cpu.Tlb.MarkCode(Linear);
        ControlRegisters.Invlpg(guest.Cpu, Linear);
        Assert.NotEqual(spaceTag, guest.State->CodeTags[CodeTags.Lower]);
    }

    [Fact]
    public void Dropping_a_page_forgets_code_of_its_own_large_page_only()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        CodeTags tags = guest.Cpu.Tlb.CodeTags;
        const ulong Large = 0xC1000000, SmallCode = 0x08048000;
        tags.Mark(Large + 0x23000, TlbRights.Read | TlbRights.Execute | TlbRights.Large);
        tags.Mark(SmallCode, TlbRights.Read | TlbRights.Execute);
        ulong tag = guest.State->CodeTags[CodeTags.Lower];

        // Of the same place among the marks as the large page's code, but elsewhere.
        ControlRegisters.Invlpg(guest.Cpu, 0x08023000);
        ControlRegisters.Invlpg(guest.Cpu, 0xBF000000);
        Assert.Equal(tag, guest.State->CodeTags[CodeTags.Lower]);
        ControlRegisters.Invlpg(guest.Cpu, Large + 0x1FF000);
        Assert.NotEqual(tag, guest.State->CodeTags[CodeTags.Lower]);

        tags.Mark(SmallCode, TlbRights.Read | TlbRights.Execute);
        tag = guest.State->CodeTags[CodeTags.Lower];
        ControlRegisters.Invlpg(guest.Cpu, SmallCode);
        Assert.NotEqual(tag, guest.State->CodeTags[CodeTags.Lower]);

        tags.Mark(1UL << 30, TlbRights.Read | TlbRights.Execute | TlbRights.Huge);
        tag = guest.State->CodeTags[CodeTags.Lower];
        ControlRegisters.Invlpg(guest.Cpu, (1UL << 30) + 0x12345000);
        Assert.NotEqual(tag, guest.State->CodeTags[CodeTags.Lower]);
    }

    [Fact]
    public void A_user_page_in_the_upper_half_is_kept_from_the_kernel_by_smap_whatever_was_cached_without()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        const ulong Page = 0xFFFF800000000000 | Linear;
        guest.SetCr4(Cr4.Smap);
        guest.Map(Page, First | P | W | U);
        guest.SetAc(true);
        Assert.Equal(First, guest.Translate(Page));
        guest.Cpu.Linear.Write(Page, 1UL);
        guest.SetAc(false);
        Assert.Equal(1u, guest.ErrorOf(Page));
        Assert.Equal(3u, guest.ErrorOf(Page, AccessKind.Write));
    }

    [Fact]
    public void A_page_is_protected_in_every_slot_and_mode()
    {
        using PagingGuest guest = WithPcid(out _);
        guest.SetCr4(Cr4.Pge);
        ulong[] roots = new ulong[12];
        const ulong Kernel = 0xFFFF800000000000;
        for (int i = 0; i < roots.Length; i++)
        {
            guest.Root = roots[i] = guest.NewTable();
            guest.Map(Linear, First | P | W | U);
            guest.Map(Kernel | Linear, First | P | W | G);
            Load(guest, roots[i], i, keep: true);
            guest.Cpu.Linear.Write(Linear, 1UL);
            guest.Cpu.Linear.Write(Kernel | Linear, 1UL);
            guest.SetCpl(3);
            guest.Cpu.Linear.Write(Linear, 1UL);
            guest.SetCpl(0);
        }

        int seen = 0;
        guest.Memory.WatchedPageWritten += (_, _) => seen++;
        guest.Physical.Protect(First, PageFlags.Code);
        for (int i = 0; i < roots.Length; i++)
        {
            Load(guest, roots[i], i, keep: true);
            guest.Cpu.Linear.Write(Linear, 2UL);
            guest.Cpu.Linear.Write(Kernel | Linear, 2UL);
            guest.SetCpl(3);
            guest.Cpu.Linear.Write(Linear, 2UL);
            guest.SetCpl(0);
        }

        Assert.Equal(3 * roots.Length, seen);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(32)]
    public void The_number_of_slots_is_a_power_of_two(int slots) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new PagingGuest(PagingMode.FourLevel, tlbSpaces: slots));

    private static PagingGuest WithPcid(out ulong other, int slots = TlbSlot.MaximumCount)
    {
        var guest = new PagingGuest(PagingMode.FourLevel, tlbSpaces: slots);
        guest.SetCr4(Cr4.Pcide);
        other = guest.NewTable();
        return guest;
    }

    private static void Load(PagingGuest guest, ulong root, int pcid, bool keep) =>
        ControlRegisters.Write(guest.Cpu, 3, root | (uint)pcid | (keep ? 1UL << 63 : 0));
}
