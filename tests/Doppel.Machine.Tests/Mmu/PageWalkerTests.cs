using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.Cpu.System;
using Doppel.Machine.Tests.System;
using static Doppel.Machine.Tests.Mmu.PagingGuest;

namespace Doppel.Machine.Tests.Mmu;

public sealed unsafe class PageWalkerTests
{
    private const ulong Linear = 0x00C03000;

    [Theory]
    [InlineData(PagingMode.TwoLevel)]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void A_4_KiB_page_translates_and_gets_its_accessed_and_dirty_bits(PagingMode mode)
    {
        using var guest = new PagingGuest(mode);
        ulong pte = guest.Map(Linear, 0x00345000 | P | W | U);
        Assert.Equal(0x00345678UL, guest.Translate(Linear + 0x678));
        Assert.Equal(0x00345000 | P | W | U | A, guest.Get(pte));
        for (int level = 2; level <= guest.Levels; level++)
        {
            // PAE's PDPTEs have no accessed bit.
            bool hasAccessed = !(mode == PagingMode.Pae && level == 3);
            Assert.Equal(hasAccessed ? A : 0, guest.Get(guest.SlotOf(Linear, level)) & (A | D));
        }

        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Write));
        Assert.Equal(A | D, guest.Get(pte) & (A | D));
        for (int level = 2; level <= guest.Levels; level++)
            Assert.Equal(0UL, guest.Get(guest.SlotOf(Linear, level)) & D);
    }

    [Theory]
    [InlineData(PagingMode.TwoLevel, 2, 22)]
    [InlineData(PagingMode.Pae, 2, 21)]
    [InlineData(PagingMode.FourLevel, 2, 21)]
    [InlineData(PagingMode.FourLevel, 3, 30)]
    public void A_large_page_translates_all_of_its_addresses(PagingMode mode, int level, int shift)
    {
        using var guest = new PagingGuest(mode);
        ulong size = 1UL << shift;
        // Bit 12 is the PAT bit of a large page, not part of its address.
        ulong slot = guest.Map(2 * size, (3 * size) | P | W | U | Ps | 0x1000, level);
        Assert.Equal(3 * size, guest.Translate(2 * size));
        Assert.Equal((3 * size) + 0x12345, guest.Translate((2 * size) + 0x12345));
        Assert.Equal((4 * size) - 1, guest.Translate((3 * size) - 1, AccessKind.Write));
        Assert.Equal(A | D, guest.Get(slot) & (A | D));
        Assert.Equal(0u, guest.ErrorOf(3 * size));
    }

    [Fact]
    public void A_4_MiB_page_reaches_40_address_bits_and_bit_21_is_reserved()
    {
        using var guest = new PagingGuest(PagingMode.TwoLevel);
        guest.Map(0x00800000, 0x00C00000 | P | Ps | (0x25 << 13), level: 2);
        Assert.Equal(0x25_00C0_1234UL, guest.Translate(0x00801234));
        guest.Map(0x01000000, 0x00C00000 | P | Ps | (1 << 21), level: 2);
        Assert.Equal(9u, guest.ErrorOf(0x01000000));

        var narrow = new CpuModel { Name = "test", Signature = 1, PhysicalAddressBits = 36, Has1GiBPages = true };
        using var other = new PagingGuest(PagingMode.TwoLevel, narrow);
        other.Map(0x00800000, 0x00C00000 | P | Ps | (0x0F << 13), level: 2);
        Assert.Equal(0xF_00C0_0000UL, other.Translate(0x00800000));
        other.Map(0x01000000, 0x00C00000 | P | Ps | (0x10 << 13), level: 2);
        Assert.Equal(9u, other.ErrorOf(0x01000000));
    }

    [Fact]
    public void Without_pse_the_size_bit_of_a_directory_entry_is_ignored()
    {
        using var guest = new PagingGuest(PagingMode.TwoLevel);
        guest.SetCr4(0, Cr4.Pse);
        guest.Map(Linear, 0x00345000 | P);
        ulong pde = guest.SlotOf(Linear, 2);
        guest.Set(pde, guest.Get(pde) | Ps);
        Assert.Equal(0x00345000UL, guest.Translate(Linear));
    }

    [Theory]
    [InlineData(PagingMode.TwoLevel)]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void Rights_are_what_every_level_grants(PagingMode mode)
    {
        int top = mode == PagingMode.Pae ? 2 : mode == PagingMode.FourLevel ? 4 : 2;
        for (int level = 1; level <= top; level++)
        {
            using var guest = new PagingGuest(mode);
            guest.Map(Linear, 0x00345000 | P | W | U);
            ulong slot = guest.SlotOf(Linear, level);
            ulong whole = guest.Get(slot);

            guest.Set(slot, whole & ~W);
            Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
            guest.SetCpl(3);
            Assert.Equal(7u, guest.ErrorOf(Linear, AccessKind.Write));
            guest.Set(slot, whole & ~U);
            guest.Cpu.Tlb.FlushAll();
            Assert.Equal(5u, guest.ErrorOf(Linear));
            Assert.Equal(7u, guest.ErrorOf(Linear, AccessKind.Write));
            guest.Set(slot, whole & ~P);
            Assert.Equal(4u, guest.ErrorOf(Linear));
            Assert.Equal(6u, guest.ErrorOf(Linear, AccessKind.Write));
            guest.SetCpl(0);
            Assert.Equal(0u, guest.ErrorOf(Linear));
            Assert.Equal(2u, guest.ErrorOf(Linear, AccessKind.Write));
            if (mode == PagingMode.TwoLevel)
                continue;
            guest.Set(slot, whole | Nx);
            Assert.Equal(0x11u, guest.ErrorOf(Linear, AccessKind.Execute));
            Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Write));
        }
    }

    [Fact]
    public void Supervisor_writes_pass_read_only_pages_without_wp_but_user_writes_never()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | U);
        Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
        guest.SetCr0(0, Cr0.Wp);
        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Write));
        guest.SetCpl(3);
        Assert.Equal(7u, guest.ErrorOf(Linear, AccessKind.Write));
        guest.SetCpl(0);
        guest.SetCr0(Cr0.Wp);
        Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
    }

    [Fact]
    public void The_fetch_bit_of_the_error_code_needs_nx_or_smep()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        Assert.Equal(0x10u, guest.ErrorOf(Linear, AccessKind.Execute));
        Msrs.Write(guest.Cpu, MsrIndex.Efer, guest.State->Efer & ~Efer.Nxe);
        Assert.Equal(0u, guest.ErrorOf(Linear, AccessKind.Execute));
        guest.SetCr4(Cr4.Smep);
        Assert.Equal(0x10u, guest.ErrorOf(Linear, AccessKind.Execute));

        // 32-bit paging has no NX, whatever EFER says.
        using var old = new PagingGuest(PagingMode.TwoLevel);
        old.State->Efer = Efer.Nxe;
        Assert.Equal(0u, old.ErrorOf(Linear, AccessKind.Execute));
        old.SetCr4(Cr4.Smep);
        Assert.Equal(0x10u, old.ErrorOf(Linear, AccessKind.Execute));
    }

    [Theory]
    [InlineData(PagingMode.TwoLevel)]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void Smep_keeps_the_supervisor_from_executing_user_pages(PagingMode mode)
    {
        using var guest = new PagingGuest(mode);
        guest.Map(Linear, 0x00345000 | P | U);
        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Execute));
        guest.SetCr4(Cr4.Smep);
        Assert.Equal(0x11u, guest.ErrorOf(Linear, AccessKind.Execute));
        Assert.Equal(0x00345000UL, guest.Translate(Linear));
        guest.SetCpl(3);
        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Execute));
    }

    [Fact]
    public void Smap_keeps_the_supervisor_from_user_data_unless_ac_is_set_and_wp_makes_no_difference()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W | U);
        Assert.Equal(0x00345000UL, guest.Translate(Linear));
        guest.SetCr4(Cr4.Smap);
        Assert.Equal(1u, guest.ErrorOf(Linear));
        Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
        guest.SetCr0(0, Cr0.Wp);
        Assert.Equal(3u, guest.ErrorOf(Linear, AccessKind.Write));
        guest.SetAc(true);
        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Write));
        guest.SetAc(false);
        Assert.Equal(1u, guest.ErrorOf(Linear));

        // Fetches are SMEP's affair.
        Assert.Equal(0x00345000UL, guest.Translate(Linear, AccessKind.Execute));
        guest.SetCpl(3);
        Assert.Equal(0x00345000UL, guest.Translate(Linear));
    }

    [Fact]
    public void Implicit_supervisor_accesses_are_the_supervisors_at_any_privilege_and_ignore_ac()
    {
        using var guest = new PagingGuest(PagingMode.FourLevel);
        guest.Map(Linear, 0x00345000 | P | W);
        guest.Map(Linear + 0x1000, 0x00346000 | P | W | U);
        guest.SetCpl(3);
        Assert.Equal(5u, guest.ErrorOf(Linear));
        Assert.Equal(0x00345000UL, guest.Cpu.Tlb.TranslateSystem(Linear, AccessKind.Write));
        guest.SetCpl(0);
        guest.SetCr4(Cr4.Smap);
        guest.SetAc(true);
        Assert.Equal(0x00346000UL, guest.Translate(Linear + 0x1000));
        FaultRecord fault = FaultRecord.Of(() => guest.Cpu.Tlb.TranslateSystem(Linear + 0x1000, AccessKind.Read));
        Assert.Equal(1u, fault.ErrorCode);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Address_bits_beyond_the_models_are_reserved_at_every_level(int level)
    {
        foreach (int bits in new[] { 36, 40, 52 })
        {
            var model = new CpuModel { Name = "test", Signature = 1, PhysicalAddressBits = bits, Has1GiBPages = true };
            using var guest = new PagingGuest(PagingMode.FourLevel, model);
            guest.Map(Linear, 0x00345000 | P | W | U);
            ulong slot = guest.SlotOf(Linear, level);
            ulong whole = guest.Get(slot);
            for (int bit = bits; bit < 52; bit++)
            {
                guest.Set(slot, whole | (1UL << bit));
                Assert.Equal(9u, guest.ErrorOf(Linear));
                Assert.Equal(0xBu, guest.ErrorOf(Linear, AccessKind.Write));
            }

            // Bits 52 to 58 are the software's, and an absent entry has no reserved bits.
            guest.Set(slot, whole | (0x7FUL << 52));
            Assert.Equal(0x00345000UL, guest.Translate(Linear));
            guest.Cpu.Tlb.FlushAll();
            guest.Set(slot, ulong.MaxValue & ~P);
            Assert.Equal(0u, guest.ErrorOf(Linear));
        }
    }

    [Theory]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void Nx_is_reserved_without_nxe(PagingMode mode)
    {
        for (int level = 1; level <= (mode == PagingMode.Pae ? 2 : 4); level++)
        {
            using var guest = new PagingGuest(mode);
            guest.Map(Linear, 0x00345000 | P | W | U);
            ulong slot = guest.SlotOf(Linear, level);
            guest.Set(slot, guest.Get(slot) | Nx);
            Assert.Equal(0x00345000UL, guest.Translate(Linear));
            Msrs.Write(guest.Cpu, MsrIndex.Efer, guest.State->Efer & ~Efer.Nxe);
            Assert.Equal(9u, guest.ErrorOf(Linear));
            guest.SetCpl(3);
            Assert.Equal(0xDu, guest.ErrorOf(Linear));
        }
    }

    [Theory]
    [InlineData(PagingMode.FourLevel, 4, Ps)] // No page of 512 GiB.
    [InlineData(PagingMode.FourLevel, 3, Ps | 0x2000)]
    [InlineData(PagingMode.FourLevel, 3, Ps | 0x20000000)]
    [InlineData(PagingMode.FourLevel, 2, Ps | 0x2000)]
    [InlineData(PagingMode.FourLevel, 2, Ps | 0x100000)]
    [InlineData(PagingMode.Pae, 2, Ps | 0x100000)]
    [InlineData(PagingMode.Pae, 2, 1UL << 52)]
    [InlineData(PagingMode.Pae, 1, 1UL << 62)]
    [InlineData(PagingMode.Pae, 1, 1UL << 40)]
    public void Reserved_bits_fault(PagingMode mode, int level, ulong bits)
    {
        using var guest = new PagingGuest(mode);
        guest.Map(0, P | W | U | bits, level);
        Assert.Equal(9u, guest.ErrorOf(0));
        Assert.Equal(0x19u, guest.ErrorOf(0, AccessKind.Execute));
    }

    [Fact]
    public void A_1_GiB_page_is_reserved_where_the_model_has_none()
    {
        var model = new CpuModel { Name = "test", Signature = 1, PhysicalAddressBits = 40, Has1GiBPages = false };
        using var guest = new PagingGuest(PagingMode.FourLevel, model);
        guest.Map(0, P | W | Ps, level: 3);
        Assert.Equal(9u, guest.ErrorOf(0));
    }

    [Fact]
    public void Pae_paging_uses_the_pdpte_registers_not_memory()
    {
        using var guest = new PagingGuest(PagingMode.Pae);
        guest.Map(Linear, 0x00345000 | P);
        guest.Set(guest.Root, 0);
        Assert.Equal(0x00345000UL, guest.Translate(Linear));
        Assert.Equal(0u, guest.ErrorOf(0x40000000));
        guest.State->Pdpte[3] = 0;
        Assert.Equal(2u, guest.ErrorOf(0xFFFFF000, AccessKind.Write));
    }

    [Fact]
    public void Without_paging_addresses_are_physical()
    {
        using var guest = new PagingGuest(PagingMode.TwoLevel);
        guest.SetCr0(0, Cr0.Pg);
        guest.SetCpl(3);
        Assert.Equal(0xFEC00010UL, guest.Translate(0xFEC00010, AccessKind.Write));
        Assert.Equal(0x1234UL, guest.Translate(0x1234, AccessKind.Execute));
    }

    [Fact]
    public void A_walk_without_effect_finds_the_same_addresses()
    {
        foreach (PagingMode mode in Enum.GetValues<PagingMode>())
        {
            using var guest = new PagingGuest(mode);
            ulong pte = guest.Map(Linear, 0x00345000 | P);
            guest.Map(0x01000000, 0x00800000 | P | Ps | (mode == PagingMode.TwoLevel ? 0x3UL << 13 : 0), level: 2);
            Assert.True(PageWalker.TryProbe(guest.Cpu, Linear + 5, out ulong physical));
            Assert.Equal(0x00345005UL, physical);
            Assert.Equal(0UL, guest.Get(pte) & A);
            Assert.True(PageWalker.TryProbe(guest.Cpu, 0x01012345, out physical));
            Assert.Equal((mode == PagingMode.TwoLevel ? 3UL << 32 : 0) + 0x00812345, physical);
            Assert.False(PageWalker.TryProbe(guest.Cpu, 0x05000000, out _));
        }
    }
}
