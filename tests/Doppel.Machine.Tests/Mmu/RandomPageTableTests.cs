using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using static Doppel.Machine.Tests.Mmu.PagingGuest;

namespace Doppel.Machine.Tests.Mmu;

/// <summary>Random entries, modes and accesses against rules written down a second time, from the manual's tables.</summary>
public sealed unsafe class RandomPageTableTests(Xunit.Abstractions.ITestOutputHelper output)
{
    private const ulong Linear = 0x12345000;

    [Theory]
    [InlineData(PagingMode.TwoLevel)]
    [InlineData(PagingMode.Pae)]
    [InlineData(PagingMode.FourLevel)]
    public void Every_access_is_decided_as_the_manual_says(PagingMode mode)
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var guest = new PagingGuest(mode);
        guest.Map(Linear, 0x00345000 | P | W | U);
        int top = mode == PagingMode.Pae ? 2 : guest.Levels;
        ulong[] slots = [0, .. Enumerable.Range(1, guest.Levels).Select(level => guest.SlotOf(Linear, level))];
        ulong[] tables = [.. slots.Select(guest.Get)];
        for (int i = 0; i < 20_000; i++)
        {
            var entries = new ulong[guest.Levels + 1];
            for (int level = 1; level <= top; level++)
            {
                entries[level] = tables[level] & ~(A | D);
                if (random.Next(16) == 0)
                    entries[level] &= ~P;
                if (random.Next(3) == 0)
                    entries[level] &= ~W;
                if (random.Next(3) == 0)
                    entries[level] &= ~U;
                if (random.Next(4) == 0 && mode != PagingMode.TwoLevel)
                    entries[level] |= Nx;
                if (random.Next(6) == 0 && level > 1)
                    entries[level] |= Ps;
                if (random.Next(24) == 0)
                    entries[level] |= 1UL << random.Next(12, mode == PagingMode.TwoLevel ? 32 : 63);
                if (level > 1 && (entries[level] & Ps) == 0)
                    entries[level] = (entries[level] & ~0xFFFFFFF000UL) | (tables[level] & 0xFFFFF000);
                guest.Set(slots[level], entries[level]);
            }

            CpuState* s = guest.State;
            s->Cr0 = (s->Cr0 & ~Cr0.Wp) | (random.Next(2) == 0 ? Cr0.Wp : 0);
            s->Cr4 = (s->Cr4 & ~(Cr4.Smep | Cr4.Smap)) | (random.Next(2) == 0 ? Cr4.Smep : 0) | (random.Next(2) == 0 ? Cr4.Smap : 0);
            if (mode != PagingMode.TwoLevel)
                s->Efer = (s->Efer & ~Efer.Nxe) | (random.Next(4) != 0 ? Efer.Nxe : 0);
            s->Flags = (s->Flags & ~CpuFlags.Ac) | (random.Next(2) == 0 ? CpuFlags.Ac : 0);
            guest.SetCpl(random.Next(2) * 3);
            guest.Cpu.Tlb.FlushAll();
            AccessKind access = random.Next(3) switch
            {
                0 => AccessKind.Read,
                1 => AccessKind.Write,
                _ => AccessKind.Execute,
            };

            string situation = $"seed {seed}, case {i}: {access}, CPL {s->Cpl}, CR0 {s->Cr0:x}, CR4 {s->Cr4:x}, EFER {s->Efer:x}, AC {s->Flags & CpuFlags.Ac:x}, entries {string.Join(' ', entries.Select(e => e.ToString("x")))}";
            (uint? error, ulong physical) = Expected(s, mode, entries, access, top);
            try
            {
                ulong actual = guest.Translate(Linear, access);
                Assert.True(error is null && actual == physical, $"{situation}: {actual:x} instead of {(error is null ? physical.ToString("x") : $"fault {error:x}")}");
                Assert.True(guest.Translate(Linear, access) == physical, situation);
            }
            catch (GuestFault fault)
            {
                Assert.True(error == fault.ErrorCode && fault.Address == Linear, $"{situation}: fault {fault.ErrorCode:x} instead of {error:x}");
            }
        }
    }

    // Intel SDM vol. 3: tables 4-4 to 4-6, 4-8 to 4-11, 4-15 to 4-20; 4.6.1; 4.7. MAXPHYADDR is 40.
    private static (uint? Error, ulong Physical) Expected(CpuState* s, PagingMode mode, ulong[] entries, AccessKind access, int top)
    {
        bool isUser = s->Cpl == 3;
        bool hasNx = mode != PagingMode.TwoLevel && (s->Efer & Efer.Nxe) != 0;
        uint code = (access == AccessKind.Write ? 2u : 0) | (isUser ? 4u : 0);
        if (access == AccessKind.Execute && (hasNx || (s->Cr4 & Cr4.Smep) != 0))
            code |= 16;
        bool writable = true, user = true, noExecute = false;
        for (int level = top; level >= 1; level--)
        {
            ulong e = entries[level];
            if ((e & P) == 0)
                return (code, 0);
            bool isLeaf = level == 1 || ((e & Ps) != 0 && level < 4);
            ulong reserved = 0;
            if (mode == PagingMode.TwoLevel)
            {
                reserved = isLeaf && level == 2 ? 1UL << 21 : 0;
            }
            else
            {
                reserved = 0x000FFF0000000000;
                if (!hasNx)
                    reserved |= Nx;
                if (mode == PagingMode.Pae)
                    reserved |= 0x7FF0000000000000;
                if (level == 4)
                    reserved |= Ps;
                if (isLeaf && level == 2)
                    reserved |= 0x1FE000;
                if (isLeaf && level == 3)
                    reserved |= 0x3FFFE000;
            }

            if ((e & reserved) != 0)
                return (code | 9, 0);
            writable &= (e & W) != 0;
            user &= (e & U) != 0;
            noExecute |= hasNx && (e & Nx) != 0;
            if (!isLeaf)
                continue;
            bool allowed = access switch
            {
                AccessKind.Execute => !noExecute && (isUser ? user : !(user && (s->Cr4 & Cr4.Smep) != 0)),
                _ when isUser => user && (access == AccessKind.Read || writable),
                _ => !(user && (s->Cr4 & Cr4.Smap) != 0 && (s->Flags & CpuFlags.Ac) == 0)
                    && (access == AccessKind.Read || writable || (s->Cr0 & Cr0.Wp) == 0),
            };
            if (!allowed)
                return (code | 1, 0);
            int shift = 12 + ((level - 1) * (mode == PagingMode.TwoLevel ? 10 : 9));
            ulong offset = (1UL << shift) - 1;
            ulong frame = mode == PagingMode.TwoLevel && level == 2
                ? (e & 0xFFC00000) | (((e >> 13) & 0xFF) << 32)
                : e & 0x000FFFFFFFFFF000 & ~offset;
            return (null, frame | (Linear & offset));
        }

        throw new InvalidOperationException("a page table entry is always a leaf");
    }
}
