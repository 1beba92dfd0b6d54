using System.Globalization;
using System.Text;
using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Inspection;
using Doppel.Machine.Memory;
using Doppel.Machine.Tests;
using Xunit.Abstractions;

namespace Doppel.Engines.Tests.Differential;

/// <summary>
/// Accesses to random mappings (small, large, absent, reserved bits, every right, accessed and dirty or not) in random modes
/// leave the same registers, memory and page tables on both engines, faults with their error codes included. So do changes of
/// address space, of page table entries and of AC between them: what is cached is the same too, where nothing of it is
/// evicted. Code, stacks and tables have places in the TLB that no accessed page has.
/// </summary>
public sealed unsafe class RandomPagingTests(ITestOutputHelper output)
{
    private const ulong Root = 0x100000, Pdpt = 0x101000, LowDirectory = 0x102000, Directory = 0x103000, UpperPdpt = 0x104000,
        UpperDirectory = 0x105000, PageTables = 0x106000, TablesEnd = 0x110000;

    private const ulong Lower = 0x4000_0000;
    private const ulong Upper = 0xFFFF_8000_4000_0000;
    private const ulong P = 1, W = 2, U = 4, A = 0x20, D = 0x40, Ps = 0x80, G = 0x100, Nx = 1UL << 63;
    private Random _random = new(0);
    private int _seed;
    private bool _hasPcids;

    [Fact]
    public void Random_mappings_are_walked_alike_by_both_engines()
    {
        _seed = TestSeed.Take(output);
        _random = new Random(_seed);
        using var reference = new BlockGuest("interpreter", isDeterministic: true);
        using var tested = new BlockGuest("translator", isDeterministic: true);
        BlockGuest[] guests = [reference, tested];
        int faults = 0;
        for (int i = 0; i < 1500; i++)
        {
            if (i % 10 == 0)
                WriteTables(guests);
            ulong start = BlockGuest.Code + 0x40000 + ((ulong)i * 1024 % 0x100000);
            bool user = _random.Next(3) == 0;
            byte[] code = MakeProgram(user);
            Prepare(guests, start, code, user, flush: i % 10 == 0);
            Assert.Equal(reference.Engine.Run(ulong.MaxValue), tested.Engine.Run(ulong.MaxValue));
            Compare(reference, tested, start, code, i % 20 == 19 ? 16 << 20 : 0x120000);
            faults += reference.State->Rip < 0x10000 ? 1 : 0;
        }

        TranslationStatistics statistics = ((TranslatorEngine)tested.Engine).Statistics;
        output.WriteLine($"{faults} faults, {tested.Cpu.Tlb.Walks} walks, {statistics.Exits[2]} of them in C#");
        Assert.True(faults > 100, $"only {faults} programs faulted");
        Assert.True(statistics.Exits[2] < tested.Cpu.Tlb.Walks, "no walk was made by emitted code");
    }

    private static readonly ulong[] Roots = [Root, 0x10E000, 0x10F000];

    private void WriteTables(BlockGuest[] guests)
    {
        byte[] tables = new byte[TablesEnd - Root];
        void Set(ulong table, int index, ulong entry) => BitConverter.TryWriteBytes(tables.AsSpan((int)(table - Root) + (8 * index)), entry);
        ulong Flag(ulong flag, int oneIn) => _random.Next(oneIn) == 0 ? 0 : flag;
        ulong Flags() => Flag(P, 40) | Flag(W, 12) | Flag(U, 3) | Flag(A, 2) | Flag(D, 2) | (Flag(G, 2) ^ G) | (_random.Next(12) == 0 ? Nx : 0);
        ulong Broken() => _random.Next(200) == 0 ? 1UL << _random.Next(46, 52) : 0;
        foreach (ulong root in Roots)
        {
            // Engines fetch code at different times: a fetch must change nothing.
            Set(root, 0, Pdpt | P | W | U | A);
            Set(root, 256, UpperPdpt | P | Flag(W, 8) | Flag(U, 4) | Flag(A, 2) | Broken());
        }

        Set(Pdpt, 0, LowDirectory | P | W | U | A);
        for (ulong i = 0; i < 8; i++)
            Set(LowDirectory, (int)i, (i << 21) | P | W | (i < 4 ? 0 : U) | A | D | Ps);
        Set(Pdpt, 1, Directory | P | Flag(W, 8) | Flag(U, 8) | Flag(A, 2) | Broken());
        Set(UpperPdpt, 1, UpperDirectory | P | W | Flag(U, 3) | Flag(A, 2));
        for (int i = 0; i < 8; i++)
        {
            foreach (ulong directory in new[] { Directory, UpperDirectory })
            {
                ulong frame = (4UL + (ulong)_random.Next(4)) << 21;
                ulong table = PageTables + (0x1000 * (ulong)_random.Next(8));
                bool isLarge = _random.Next(3) == 0;
                ulong entry = isLarge ? frame | Ps | (_random.Next(30) == 0 ? 0x2000UL : 0) : table;
                Set(directory, i, entry | Flags() | Flag(P, 10) | Broken());
            }
        }

        for (int table = 0; table < 8; table++)
        {
            for (int i = 0; i < 512; i++)
            {
                ulong frame = _random.Next(25) == 0 ? 0xF000_0000 : (10UL << 20) + ((ulong)_random.Next(1024) << 12);
                Set(PageTables + (0x1000 * (ulong)table), i, frame | Flags() | Broken());
            }
        }

        foreach (BlockGuest guest in guests)
            Assert.True(guest.Memory.TryWrite(Root, tables));
    }

    private ulong NextAddress()
    {
        ulong address = (_random.Next(3) == 0 ? Upper : Lower) + ((ulong)_random.Next(8) << 21) + ((ulong)_random.Next(32, 56) << 12);
        return address + (_random.Next(12) == 0 ? 0xFFCUL : (ulong)_random.Next(0xFF0));
    }

    private byte[] MakeProgram(bool user)
    {
        var code = new List<byte>();
        for (int i = _random.Next(1, 24); i > 0; i--)
        {
            if (!user && _random.Next(3) == 0)
            {
                code.AddRange(SystemInstruction());
                continue;
            }

            // mov rbx, address; then an access through it.
            code.AddRange([0x48, 0xBB, .. BitConverter.GetBytes(NextAddress())]);
            code.AddRange(_random.Next(5) switch
            {
                0 => [0x48, 0x8B, 0x03],
                1 => [0x48, 0x89, 0x03],
                2 => (byte[])[0x01, 0x03],
                3 => [0x8A, 0x0B],
                _ => [0xC6, 0x03, 0x5A],
            });
        }

        code.Add(0xF4);
        return [.. code];
    }

    private byte[] SystemInstruction()
    {
        ulong root = Roots[_random.Next(Roots.Length)];
        if (_hasPcids)
            root |= new ulong[] { 0, 1, 2, 9, 0x801 }[_random.Next(5)] | ((ulong)_random.Next(2) << 63);
        if (_random.Next(30) == 0)
            root |= 1UL << 53;
        ulong entry = PageTables + (8 * (ulong)_random.Next(8 * 512));
        return _random.Next(7) switch
        {
            // mov rax, root; mov cr3, rax
            0 => [0x48, 0xB8, .. BitConverter.GetBytes(root), 0x0F, 0x22, 0xD8],
            // mov rbx, address; invlpg [rbx]
            1 => [0x48, 0xBB, .. BitConverter.GetBytes(_random.Next(10) == 0 ? 1UL << 50 : NextAddress()), 0x0F, 0x01, 0x3B],
            2 => [0x0F, 0x01, 0xCB], // stac
            3 => [0x0F, 0x01, 0xCA], // clac
            // xor dword [entry], flags
            4 => [0x81, 0x34, 0x25, .. BitConverter.GetBytes((int)entry), .. BitConverter.GetBytes(_random.Next(8) | 0x1000)],
            // mov rcx, crN
            5 => [0x0F, 0x20, (byte)(0xC1 | (new[] { 0, 2, 3, 4 }[_random.Next(4)] << 3))],
            // and dword [entry], not (accessed or dirty)
            _ => [0x81, 0x24, 0x25, .. BitConverter.GetBytes((int)entry), .. BitConverter.GetBytes(~0x60)],
        };
    }

    private void Prepare(BlockGuest[] guests, ulong start, byte[] code, bool user, bool flush)
    {
        ulong cr4 = (_random.Next(2) == 0 ? Cr4.Pge : 0) | (_random.Next(3) == 0 ? Cr4.Smap : 0) | (_random.Next(3) == 0 ? Cr4.Smep : 0);
        if (flush)
            _hasPcids = _random.Next(2) == 0;
        if (_hasPcids)
            cr4 |= Cr4.Pcide;
        bool nxe = _random.Next(4) != 0;
        bool wp = _random.Next(3) != 0;
        bool ac = _random.Next(2) == 0;
        foreach (BlockGuest guest in guests)
        {
            Assert.True(guest.Memory.TryWrite(start, code));
            guest.Start(start, flushTlb: false);
            CpuState* s = guest.State;
            s->Gpr[4] = BlockGuest.Stack + 0x1000;
            s->Cr3 = Root;
            if (flush)
            {
                // The code is on user pages, which SMEP forbids.
                s->Cr4 |= cr4 & ~Cr4.Smep;
                s->Efer |= nxe ? Efer.Nxe : 0;
                s->Cr0 = wp ? s->Cr0 : s->Cr0 & ~Cr0.Wp;
                _modes[guest] = (s->Cr0, s->Cr4, s->Efer);
                guest.Cpu.Tlb.FlushAll();
            }

            (s->Cr0, s->Cr4, s->Efer) = _modes[guest];
            guest.Cpu.Tlb.SelectAddressSpace(0, keep: true);
            // HLT is privileged: at CPL 3 the program ends with its fault.
            if (user)
            {
                s->Cpl = 3;
                s->Cs.Selector |= 3;
                s->Ss.Selector |= 3;
                s->Cs.Attributes |= (SegmentAttributes)0x60;
                s->Ss.Attributes |= (SegmentAttributes)0x60;
            }

            s->Flags = CpuFlags.Fixed | (!user && ac ? CpuFlags.Ac : 0);
            guest.Cpu.ModeChanged();
        }
    }

    private readonly Dictionary<BlockGuest, (ulong Cr0, ulong Cr4, ulong Efer)> _modes = [];

    private void Compare(BlockGuest reference, BlockGuest tested, ulong start, byte[] code, int length)
    {
        reference.Snapshot.Update(reference.Cpu);
        tested.Snapshot.Update(tested.Cpu);
        var different = new StringBuilder();
        foreach ((RegisterValue a, RegisterValue b) in reference.Snapshot.List().Zip(tested.Snapshot.List()))
        {
            if (a != b)
                different.AppendLine(CultureInfo.InvariantCulture, $"{a.Name}: {a.Value:x}, not {b.Value:x}");
        }

        if (reference.Snapshot.InstructionsRetired != tested.Snapshot.InstructionsRetired)
            different.AppendLine(CultureInfo.InvariantCulture, $"retired: {reference.Snapshot.InstructionsRetired}, not {tested.Snapshot.InstructionsRetired}");
        var all = new ReadOnlySpan<byte>(reference.Memory.Base, length);
        int at = all.CommonPrefixLength(new ReadOnlySpan<byte>(tested.Memory.Base, length));
        if (at != all.Length)
            different.AppendLine(CultureInfo.InvariantCulture, $"memory at {at:x}: {*(ulong*)(reference.Memory.Base + (at & ~7)):x}, not {*(ulong*)(tested.Memory.Base + (at & ~7)):x}");
        for (ulong page = 0; page < 16 << 20; page += GuestMemory.PageSize)
        {
            if (reference.Memory.FlagsOf(page).HasFlag(PageFlags.Dirty) && !tested.Memory.FlagsOf(page).HasFlag(PageFlags.Dirty))
                different.AppendLine(CultureInfo.InvariantCulture, $"page {page:x} is not dirty");
        }

        if (different.Length != 0)
            Assert.Fail($"seed {_seed}, at {reference.Snapshot.Rip:x}:\n{different}\n{string.Join('\n', GuestCode.Disassemble(code, start, 64, 200))}");
    }
}
