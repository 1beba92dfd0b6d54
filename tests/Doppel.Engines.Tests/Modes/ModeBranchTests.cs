using Doppel.Engines.Translator;
using Doppel.Machine.Cpu;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Doppel.Engines.Tests.Modes;

/// <summary>
/// Programs with branches outside 64-bit mode, which the translator must leave in the state that the interpreter leaves: the
/// ends of segments, offsets that are cut to 16 bits, code that overwrites itself, one address in several modes.
/// </summary>
public sealed unsafe class ModeBranchTests
{
    private const uint Page = 0x1000;

    private static ModeSetup Find(string name) => ModeSetup.All.Single(s => s.Name == name);

    public static TheoryData<int> Setups => [.. Enumerable.Range(0, ModeSetup.All.Length)];

    /// <summary>Counts in a nest of loops with calls, over a page end, often enough that all branches are patched and cached.</summary>
    [Theory]
    [MemberData(nameof(Setups))]
    public void Loops_and_calls_over_a_page_end_count_alike(int index)
    {
        ModeSetup setup = ModeSetup.All[index];
        uint start = ModeSetup.Code + Page - 0x20;
        Run(setup, start, a =>
        {
            Label outer = a.CreateLabel(), inner = a.CreateLabel(), function = a.CreateLabel(), done = a.CreateLabel(), skip = a.CreateLabel();
            a.mov(ecx, 300);
            a.Label(ref outer);
            a.push(ecx);
            a.mov(ecx, 5);
            a.Label(ref inner);
            a.call(function);
            a.test(al, 3);
            a.jz(skip);
            a.add(edx, ecx);
            a.Label(ref skip);
            a.loop(inner);
            a.pop(ecx);
            a.dec(ecx);
            a.jnz(outer);
            a.jmp(done);
            for (int i = 0; i < 40; i++)
                a.nop();
            a.Label(ref function);
            a.inc(eax);
            a.push(ebx);
            a.lea(ebx, __[eax + (edx * 2) + 5]);
            a.xor(esi, ebx);
            a.pop(ebx);
            a.ret();
            a.Label(ref done);
            a.hlt();
        }, out ulong retired);
        Assert.True(retired > 10000, $"only {retired} instructions");
    }

    [Fact]
    public void A_16_bit_jump_in_the_page_of_its_segments_start_wraps_to_the_segments_end()
    {
        // CS begins at 230h of the page: 10h less than the code's offset 8 is FFF8h, not the bytes before the segment.
        ModeSetup setup = Find("real mode");
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            // At offset 8: JMP to FFF8h. There: MOV AX, 1234h; HLT. In the bytes before the segment: HLT.
            guest.Memory.TryWrite(setup.CodeBase + 8, [0xEB, 0xEE]);
            guest.Memory.TryWrite(setup.CodeBase - 8, [0xF4]);
            guest.Memory.TryWrite(setup.CodeBase + 0xFFF8, [0xB8, 0x34, 0x12, 0xF4]);
            for (int i = 0; i < 3; i++)
                Execute(guest, setup, setup.CodeBase + 8);
        }

        Assert.Equal(0x1234UL, reference.State->Gpr[0]);
        Compare(reference, tested);
    }

    [Fact]
    public void Code_that_runs_beyond_its_segment_faults_at_the_first_instruction_outside()
    {
        ModeSetup setup = Find("real mode");
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            // INC AX up to and beyond FFFFh, which is in the middle of a page.
            byte[] code = new byte[0x80];
            Array.Fill(code, (byte)0x40);
            guest.Memory.TryWrite(setup.CodeBase + 0xFFC0, code);
            for (int i = 0; i < 3; i++)
            {
                guest.State->Gpr[0] = 0;
                Execute(guest, setup, setup.CodeBase + 0xFFC0);
            }
        }

        Assert.Equal(0x40UL, reference.State->Gpr[0]);
        Compare(reference, tested);
    }

    [Theory]
    [InlineData("real mode")]
    [InlineData("16-bit protected mode")]
    [InlineData("virtual-8086 mode")]
    public void A_32_bit_jump_beyond_the_segment_faults_before_it_is_taken(string name)
    {
        ModeSetup setup = Find(name);
        Run(setup, ModeSetup.Code, a =>
        {
            a.mov(eax, 0x12345);
            a.push(eax);
            a.nop();
            a.db(0x66, 0xC3);
        }, out _);
        Run(setup, ModeSetup.Code, a =>
        {
            a.mov(eax, 0x12345);
            a.jmp(eax);
        }, out _);
        Run(setup, ModeSetup.Code, a =>
        {
            // A call by 20000h.
            a.mov(eax, 1);
            a.db(0x66, 0xE8, 0x00, 0x00, 0x02, 0x00);
        }, out _);
    }

    [Theory]
    [MemberData(nameof(Setups))]
    public void Code_that_overwrites_itself_runs_as_it_is_then(int index)
    {
        ModeSetup setup = ModeSetup.All[index];
        // Other segments of protected mode do not let code be written.
        if (setup.Data.Base != 0 && setup.Kind is not (ModeKind.Real or ModeKind.Virtual8086))
            return;
        // EBX becomes EIP, and DS becomes CS in real mode. A loop then raises the immediate of its own MOV AL.
        byte[] code = setup.Bits == 32
            ? [0xE8, 0, 0, 0, 0, 0x5B, 0xB9, 20, 0, 0, 0, 0xFE, 0x43, 0x0A, 0xB0, 5, 0x01, 0xC2, 0x49, 0x75, 0xF6, 0xF4]
            : [0x8C, 0xC8, 0x8E, 0xD8, 0xE8, 0, 0, 0x5B, 0xB9, 20, 0, 0xFE, 0x47, 0x08, 0xB0, 5, 0x01, 0xC2, 0x49, 0x75, 0xF6, 0xF4];
        Run(setup, ModeSetup.Code, a => a.db(code), out ulong retired);
        Assert.True(retired > 100, $"only {retired} instructions");
    }

    /// <summary>
    /// Variables of all sizes between routines, as programs in assembly language have them, some next to code: only those that share a
    /// granule with code leave translated code, and routines that are overwritten meanwhile run as they are then.
    /// </summary>
    [Theory]
    [MemberData(nameof(Setups))]
    public void Variables_between_routines_are_written_without_leaving(int index)
    {
        ModeSetup setup = ModeSetup.All[index];
        if (setup.Data.Base != 0 && setup.Kind is not (ModeKind.Real or ModeKind.Virtual8086))
            return;
        const int Rounds = 3000, Variables = 0x400, Routine = 0x800;
        uint start = ModeSetup.Code - setup.CodeBase;
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            guest.Memory.TryWrite(ModeSetup.Code, Assemble(setup.Bits, start, a =>
            {
                Label again = a.CreateLabel(), kept = a.CreateLabel();
                if (setup.Bits == 16)
                {
                    a.mov(ax, cs);
                    a.mov(ds, ax);
                }

                a.mov(ecx, Rounds);
                a.mov(ebx, (int)start + Variables);
                a.Label(ref again);
                for (int i = 0; i < 12; i++)
                {
                    a.mov(setup.Bits == 16 ? __dword_ptr[bx + (i * 13)] : __dword_ptr[ebx + (i * 13)], ecx);
                    a.add(setup.Bits == 16 ? __byte_ptr[bx + (i * 13) + 4] : __byte_ptr[ebx + (i * 13) + 4], cl);
                    a.add(edx, setup.Bits == 16 ? __dword_ptr[bx + (i * 11)] : __dword_ptr[ebx + (i * 11)]);
                }

                a.call(start + Routine);
                a.test(ecx, 0x3F);
                a.jnz(kept);
                // The routine's immediate.
                a.add(setup.Bits == 16 ? __byte_ptr[bx + (Routine - Variables + 3)] : __byte_ptr[ebx + (Routine - Variables + 2)], 1);
                a.Label(ref kept);
                a.dec(ecx);
                a.jnz(again);
                a.hlt();
            }));
            guest.Memory.TryWrite(ModeSetup.Code + Routine, Assemble(setup.Bits, start + Routine, a =>
            {
                a.add(edx, 0x01020304);
                a.ret();
            }));
            Execute(guest, setup, ModeSetup.Code);
        }

        Compare(reference, tested);
        Assert.InRange(tested.Engine.GetStatistics().Exits.Sum(exit => (double)exit.Count), 1, Rounds);
    }

    /// <summary>A copy misses the TLB in its source and its destination in turn, page after page; it is not one whose pages evict each other.</summary>
    [Fact]
    public void A_long_copy_stays_in_translated_code()
    {
        ModeSetup setup = Find("flat 32-bit");
        using ModeGuest tested = new("translator", false);
        tested.Memory.TryWrite(ModeSetup.Code, Assemble(32, ModeSetup.Code, a =>
        {
            Label again = a.CreateLabel();
            a.mov(edx, 100);
            a.Label(ref again);
            a.mov(esi, 0x60000);
            a.mov(edi, 0x70000);
            a.mov(ecx, 0x4000);
            a.rep.movsd();
            a.mov(eax, cr3);
            a.mov(cr3, eax);
            a.dec(edx);
            a.jnz(again);
            a.hlt();
        }));
        new Random(1).NextBytes(new Span<byte>(tested.Memory.Base + 0x60000, 0x10000));
        Execute(tested, setup, ModeSetup.Code);
        Assert.True(new ReadOnlySpan<byte>(tested.Memory.Base + 0x60000, 0x10000).SequenceEqual(new ReadOnlySpan<byte>(tested.Memory.Base + 0x70000, 0x10000)));
        Assert.InRange((double)tested.Engine.GetStatistics().Exits.Single(exit => exit.Reason == "interpreted").Count, 0, 250);
    }

    /// <summary>Blocks of a repeated copy end where offsets wrap, where the segment does, and at the end of the count.</summary>
    [Theory]
    [InlineData("real mode", 0xFFF1, 0x2000, 0x20, 0)]
    [InlineData("real mode", 0x3000, 0xFFFB, 0x20, 0)]
    [InlineData("real mode", 0x0F00, 0x2E80, 0x1234, 0)]
    [InlineData("16-bit protected mode", 0x0100, 0x5000, 0x200, 0x200 - 0x124)]
    [InlineData("32-bit segments", 0x5100, 0x10, 0x200, 0x200 - 0x24)]
    [InlineData("unreal mode", 0xFFFF, 0x1FFF, 3, 0)]
    public void A_copy_in_segments_ends_where_it_must(string name, int source, int destination, int count, int left)
    {
        ModeSetup setup = Find(name);
        foreach (string engine in new[] { "interpreter", "translator" })
        {
            using ModeGuest guest = new(engine, false);
            new Random(2).NextBytes(new Span<byte>(guest.Memory.Base + setup.Data.Base, 0x10000));
            byte[] expected = new ReadOnlySpan<byte>(guest.Memory.Base, ModeGuest.RamSize).ToArray();
            uint mask = setup.Bits == 16 ? 0xFFFFu : uint.MaxValue;
            for (int i = 0; i < count - left; i++)
                expected[setup.Data.Base + 0x20 + (((uint)destination + (uint)i) & mask)] = expected[setup.Data.Base + (((uint)source + (uint)i) & mask)];
            guest.Memory.TryWrite(ModeSetup.Code, Assemble(setup.Bits, ModeSetup.Code - setup.CodeBase, a =>
            {
                a.mov(esi, source);
                a.mov(edi, destination);
                a.mov(ecx, count);
                a.rep.movsb();
                a.hlt();
            }));
            Execute(guest, setup, ModeSetup.Code);
            Assert.Equal((ulong)left, guest.State->Gpr[1]);
            Span<byte> data = new(guest.Memory.Base + setup.Data.Base, 0x10020);
            Assert.True(data.SequenceEqual(expected.AsSpan((int)setup.Data.Base, data.Length)), engine);
        }
    }

    /// <summary>The same bytes at one address mean other things in 16- and in 32-bit code; nothing that is cached mixes them up.</summary>
    [Fact]
    public void One_address_in_several_modes_keeps_its_translations_apart()
    {
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        ModeSetup[] setups = [Find("flat 32-bit"), Find("flat compatibility mode"), Find("flat compatibility mode at CPL 3"), Find("16-bit code on a 32-bit stack"), Find("real mode"), Find("32-bit segments")];
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            // Two pages that jump to each other by RET, so that the look-up is used. MOV's immediate is 2 or 4 bytes long, the
            // other two are NOP then; 49h is DEC.
            foreach ((uint at, bool ends) in new[] { (ModeSetup.Code, true), (ModeSetup.Code + Page, false) })
            {
                byte[] body = [0xB8, 0x01, 0x00, 0x90, 0x90, 0x01, 0xC3, 0x49, .. ends ? [0x75, 0x01, 0xF4] : Array.Empty<byte>(), 0x01, 0xFE, 0xF7, 0xDF, 0x56, 0xC3];
                guest.Memory.TryWrite(at, body);
            }
        }

        for (int round = 0; round < 4; round++)
        {
            foreach (ModeSetup setup in setups)
            {
                foreach (ModeGuest guest in new[] { reference, tested })
                {
                    for (int i = 0; i < 8; i++)
                        guest.State->Gpr[i] = 7;
                    guest.State->Gpr[6] = ModeSetup.Code - setup.CodeBase;
                    guest.State->Gpr[7] = Page;
                    Execute(guest, setup, ModeSetup.Code);
                }

                Compare(reference, tested);
            }
        }
    }

    [Fact]
    public void A_far_return_between_16_and_32_bit_code_changes_how_code_is_translated()
    {
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        ModeSetup setup = Find("flat 32-bit");
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            // GDT: 28h 16-bit code, 08h 32-bit code.
            guest.Memory.TryWrite(ModeGuest.Gdt + 0x28, BitConverter.GetBytes(0x000F9B000000FFFFUL));
            guest.Memory.TryWrite(ModeSetup.Code, Assemble(32, ModeSetup.Code, a =>
            {
                Label again = a.CreateLabel();
                a.mov(ecx, 50);
                a.Label(ref again);
                a.inc(eax);
                a.db(0xEA, 0x00, 0x10, 0x02, 0x00, 0x28, 0x00);
                a.add(edx, eax);
                a.dec(ecx);
                a.jnz(again);
                a.hlt();
            }));
            // 16-bit code at +1000h, reached by a far jump with a 32-bit offset: INC AX, ADD BX, AX, and a far jump back.
            byte[] code = [0x40, 0x01, 0xC3, 0x66, 0xEA, 0x0D, 0x00, 0x02, 0x00, 0x08, 0x00];
            guest.Memory.TryWrite(ModeSetup.Code + Page, code);
            for (int i = 0; i < 8; i++)
                guest.State->Gpr[i] = 0;
            Execute(guest, setup, ModeSetup.Code);
        }

        Assert.Equal(100UL, reference.State->Gpr[0]);
        Compare(reference, tested);
        Assert.True(((TranslatorEngine)tested.Engine).Statistics.Blocks > 3);
    }

    private static void Run(ModeSetup setup, uint address, Action<Assembler> program, out ulong retired)
    {
        using ModeGuest reference = new("interpreter", false), tested = new("translator", false);
        byte[] code = Assemble(setup.Bits, address - setup.CodeBase, program);
        foreach (ModeGuest guest in new[] { reference, tested })
        {
            guest.Memory.TryWrite(address, code);
            Execute(guest, setup, address);
        }

        retired = reference.State->InstructionsRetired;
        Compare(reference, tested);
    }

    private static byte[] Assemble(int bits, uint offset, Action<Assembler> program)
    {
        var assembler = new Assembler(bits);
        program(assembler);
        using var stream = new MemoryStream();
        _ = assembler.Assemble(new StreamCodeWriter(stream), offset);
        return stream.ToArray();
    }

    private static void Execute(ModeGuest guest, ModeSetup setup, uint address)
    {
        guest.Start(setup, address);
        guest.State->Gpr[4] = ModeSetup.StackMiddle - setup.Stack.Base;
        Assert.Equal(ExitReason.Halt, guest.Engine.Run(ulong.MaxValue));
    }

    private static void Compare(ModeGuest reference, ModeGuest tested)
    {
        reference.Snapshot.Update(reference.Cpu);
        tested.Snapshot.Update(tested.Cpu);
        Assert.Equal(reference.Snapshot.List(), tested.Snapshot.List());
        Assert.Equal(reference.Snapshot.InstructionsRetired, tested.Snapshot.InstructionsRetired);
        Assert.True(new ReadOnlySpan<byte>(reference.Memory.Base, ModeGuest.RamSize).SequenceEqual(new ReadOnlySpan<byte>(tested.Memory.Base, ModeGuest.RamSize)), "memory differs");
    }
}
