using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;
using Doppel.Machine.Cpu.Models;
using Doppel.Machine.State;
using Doppel.Machine.Tests.System;
using Xunit.Abstractions;

namespace Doppel.Machine.Tests.State;

public sealed unsafe class CpuStateSectionTests(ITestOutputHelper output)
{
    private const ulong Kernel = 0xFFFF800000000000;

    public static TheoryData<string> Damages => [.. Damage.Keys];

    private static Dictionary<string, Action<nint>> Damage { get; } = new()
    {
        ["RFLAGS"] = s => ((CpuState*)s)->FlagSystem |= 1UL << 40,
        ["CPL"] = s => ((CpuState*)s)->Cpl = 4,
        ["interrupt shadow"] = s => ((CpuState*)s)->Shadow = (InterruptShadow)8,
        ["activity"] = s => ((CpuState*)s)->Activity = (ActivityState)4,
        ["CR0"] = s => ((CpuState*)s)->Cr0 &= ~Cr0.Pe,
        ["CR3"] = s => ((CpuState*)s)->Cr3 = 1UL << 60,
        ["CR4"] = s => ((CpuState*)s)->Cr4 |= Cr4.La57,
        ["EFER"] = s => ((CpuState*)s)->Efer &= ~Efer.Lma,
        ["XCR0"] = s => ((CpuState*)s)->Xcr0 = 5,
        ["rights of Fs"] = s => ((CpuState*)s)->Fs.Attributes = (SegmentAttributes)0x100,
        ["base of Gs"] = s => ((CpuState*)s)->Gs.Base = 1UL << 60,
        ["base of IDTR"] = s => ((CpuState*)s)->Idtr.Base = 1UL << 50,
        ["limit of GDTR"] = s => ((CpuState*)s)->Gdtr.Limit = 0x10000,
        ["LSTAR"] = s => ((CpuState*)s)->Lstar = 1UL << 47,
        ["SYSENTER_EIP"] = s => ((CpuState*)s)->SysenterEip = 1UL << 47,
        ["FMASK"] = s => ((CpuState*)s)->SyscallMask = 1UL << 32,
        ["XSS"] = s => ((CpuState*)s)->Xss = 1,
        ["PAT"] = s => ((CpuState*)s)->Pat = 2,
        ["MTRR_DEF_TYPE"] = s => ((CpuState*)s)->MtrrDefType = 3,
        ["variable MTRR 1"] = s => ((CpuState*)s)->MtrrVariable[1] = 1,
        ["fixed MTRR 4"] = s => ((CpuState*)s)->MtrrFixed[4] = 7,
        ["DR6"] = s => ((CpuState*)s)->Dr[6] = 0,
        ["DR7"] = s => ((CpuState*)s)->Dr[7] = 1UL << 32,
        ["FCW"] = s => *(ushort*)((CpuState*)s)->XsaveArea = 0xFFFF,
        ["FTW"] = s => *(ushort*)(((CpuState*)s)->XsaveArea + 4) = 0x100,
        ["MXCSR"] = s => ((CpuState*)s)->Mxcsr = 0x10000,
    };

    [Fact]
    public void Every_register_comes_back()
    {
        using TestCpu original = Busy();
        using var copy = new TestCpu();
        byte[] saved = Save(original);
        var reader = new StateReader(saved);
        new CpuStateSection(copy.Cpu).Restore(reader, 1);
        Assert.True(reader.IsAtEnd);
        Assert.Equal(saved, Save(copy));
        Assert.Equal(original.State->Flags, copy.State->Flags);
        Assert.Equal(PendingEvents.Nmi | PendingEvents.NextNmi | PendingEvents.Sipi, copy.Cpu.GetPendingEvents());
        Assert.Equal(2UL, copy.Cpu.TakePendingDebug());
        // Whatever else is in the state is the engine's, the machine's or has no meaning.
        byte[] expected = Registers(original.State), actual = Registers(copy.State);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(expected[i] == actual[i], $"byte {i} of the state is {actual[i]} and not {expected[i]}");
    }

    [Fact]
    public void A_restore_forgets_cached_translations_and_selects_the_new_mode()
    {
        using TestCpu original = new TestCpu().InLongMode(cpl: 3);
        using TestCpu copy = new TestCpu().InLongMode();
        copy.Memory.TryWrite(0x3000 + 8, BitConverter.GetBytes(0x200083UL));
        Assert.Equal(0x200000UL, copy.Cpu.Tlb.Translate(0x200000, Doppel.Machine.Cpu.Mmu.AccessKind.Read));
        new CpuStateSection(copy.Cpu).Restore(new StateReader(Save(original)), 1);
        // The page belongs to the supervisor, and the restored program is a user's.
        GuestFault fault = Assert.Throws<GuestFault>(() => copy.Cpu.Linear.Read<ulong>(0x200000));
        Assert.Equal(ExceptionVector.PageFault, fault.Vector);
    }

    [Fact]
    public void A_signal_of_another_thread_outlives_a_restore_and_the_interrupt_bit_follows_the_apic()
    {
        using var test = new TestCpu();
        byte[] saved = Save(test);
        test.Cpu.Signal(PendingEvents.Kick | PendingEvents.Interrupt | PendingEvents.Nmi);
        new CpuStateSection(test.Cpu).Restore(new StateReader(saved), 1);
        Assert.Equal(PendingEvents.Kick | PendingEvents.Interrupt, test.Cpu.GetPendingEvents());
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public void An_impossible_value_is_refused_by_name_and_nothing_is_kept(string field)
    {
        using TestCpu original = Busy();
        Damage[field]((nint)original.State);
        byte[] saved = Save(original);
        using var copy = new TestCpu();
        byte[] before = Whole(copy.State);
        InvalidDataException refusal = Assert.Throws<InvalidDataException>(() => new CpuStateSection(copy.Cpu).Restore(new StateReader(saved), 1));
        Assert.Contains($"cpu0: {field} is ", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(before, Whole(copy.State));
    }

    [Fact]
    public void A_truncated_section_and_an_unknown_version_are_refused()
    {
        using TestCpu original = Busy();
        byte[] saved = Save(original);
        using var copy = new TestCpu();
        var section = new CpuStateSection(copy.Cpu);
        byte[] before = Whole(copy.State);
        Assert.Equal("cpu0", section.SectionName);
        Assert.Throws<InvalidDataException>(() => section.Restore(new StateReader(saved), 2));
        for (int length = 0; length < saved.Length; length += 7)
            Assert.Throws<InvalidDataException>(() => section.Restore(new StateReader(saved.AsMemory(0, length)), 1));
        Assert.Equal(before, Whole(copy.State));
    }

    [Fact]
    public void A_damaged_section_is_refused_whole_or_taken_as_it_is()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using TestCpu original = Busy();
        byte[] saved = Save(original);
        using var copy = new TestCpu();
        var section = new CpuStateSection(copy.Cpu);
        int refused = 0;
        for (int i = 0; i < 4000; i++)
        {
            byte[] damaged = [.. saved];
            damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            byte[] before = Whole(copy.State);
            try
            {
                section.Restore(new StateReader(damaged), 1);
                Assert.Equal(damaged, Save(copy));
            }
            catch (InvalidDataException)
            {
                refused++;
                Assert.Equal(before, Whole(copy.State));
            }
        }

        Assert.InRange(refused, 400, 3900);
    }

    /// <summary>A vCPU in 64-bit mode with a value of its own in every register.</summary>
    private static TestCpu Busy()
    {
        TestCpu test = new TestCpu(CpuModels.Version3).InLongMode();
        CpuState* s = test.State;
        var random = new Random(4711);
        for (int i = 0; i < 16; i++)
            s->Gpr[i] = (ulong)random.NextInt64();
        s->Rip = Kernel + 0x1234567;
        s->Flags = CpuFlags.Fixed | CpuFlags.If | CpuFlags.Zf | CpuFlags.Pf | CpuFlags.Of | CpuFlags.Ac | CpuFlags.Iopl | CpuFlags.Id;
        s->InstructionsRetired = 123456789;
        s->Shadow = InterruptShadow.MovSs | InterruptShadow.NmiBlocked;
        s->Activity = ActivityState.Halted;
        for (Segment segment = Segment.Es; segment <= Segment.Tr; segment++)
        {
            SegmentRegister* register = s->SegmentAt(segment);
            register->Selector = (ushort)random.Next(8, 0x10000);
            register->Limit = (uint)random.NextInt64(1L << 32);
            register->Base = Kernel + (uint)random.Next();
        }

        s->Gdtr = new DescriptorTableRegister { Base = Kernel + 0x1000, Limit = 0x7F };
        s->Idtr = new DescriptorTableRegister { Base = Kernel + 0x2000, Limit = 0xFFF };
        s->Cr2 = (ulong)random.NextInt64();
        s->Cr3 = 0x1000 | 5;
        s->Cr4 |= Cr4.Pcide | Cr4.Osxsave | Cr4.Smep;
        s->Xcr0 = 7;
        s->Star = (ulong)random.NextInt64();
        s->Lstar = Kernel + 1;
        s->Cstar = Kernel + 2;
        s->SyscallMask = 0x47700;
        s->KernelGsBase = Kernel + 3;
        s->SysenterCs = 0x10;
        s->SysenterEsp = Kernel + 4;
        s->SysenterEip = Kernel + 5;
        s->TscAux = 3;
        s->Pat = 0x0007010600070406;
        s->MiscEnable = 0;
        s->SpecCtrl = 1;
        s->DebugCtl = 2;
        s->McgStatus = 4;
        s->TscOffset = (ulong)random.NextInt64();
        s->TscAdjust = (ulong)random.NextInt64();
        s->MtrrDefType = 0xC06;
        for (int i = 0; i < 16; i++)
            s->MtrrVariable[i] = (i & 1) == 0 ? ((ulong)i << 24) | 6 : 0xFF_FF00_0800UL;
        for (int i = 0; i < 11; i++)
            s->MtrrFixed[i] = 0x0605040106050401;
        for (int i = 0; i < 4; i++)
        {
            s->Dr[i] = (ulong)random.NextInt64();
            s->Pdpte[i] = (ulong)random.NextInt64();
            s->MachineCheckControl[i] = (ulong)random.NextInt64();
        }

        s->Dr[6] = 0xFFFF4FF1;
        s->Dr[7] = 0x10402;
        s->MonitorAddress = (ulong)random.NextInt64();
        random.NextBytes(new Span<byte>(s->XsaveArea + 8, 16));
        *(ushort*)s->XsaveArea = 0x27F;
        *(ushort*)(s->XsaveArea + 2) = 0x3800;
        s->XsaveArea[4] = 0x81;
        *(ushort*)(s->XsaveArea + 6) = 0x5D9;
        s->Mxcsr = 0x9FC0;
        for (int i = 0; i < 8; i++)
            random.NextBytes(new Span<byte>(s->XsaveArea + 32 + (16 * i), 10));
        random.NextBytes(new Span<byte>(s->XsaveArea + 160, 256));
        random.NextBytes(new Span<byte>(s->XsaveArea + 576, 256));
        test.Cpu.Signal(PendingEvents.Nmi | PendingEvents.Sipi | PendingEvents.Kick | PendingEvents.Interrupt);
        test.Cpu.Signal(PendingEvents.Nmi);
        test.Cpu.AddPendingDebug(2);
        return test;
    }

    private static byte[] Save(TestCpu test)
    {
        var writer = new StateWriter();
        new CpuStateSection(test.Cpu).Save(writer);
        return writer.ToArray();
    }

    private static byte[] Whole(CpuState* s) => new ReadOnlySpan<byte>(s, sizeof(CpuState)).ToArray();

    private static byte[] Registers(CpuState* s)
    {
        byte[] bytes = Whole(s);
        foreach (string field in new[]
        {
            nameof(CpuState.Zero), nameof(CpuState.CodePage), nameof(CpuState.FlagZero), nameof(CpuState.FlagSignParity),
            nameof(CpuState.Tlb), nameof(CpuState.Ram), nameof(CpuState.PageFlags), nameof(CpuState.PendingEvents),
            nameof(CpuState.LastCodeTag), nameof(CpuState.CodeHasLocalUpper), nameof(CpuState.TlbSlots),
        })
        {
            bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(field), field == nameof(CpuState.PendingEvents) ? 4 : 8).Clear();
        }

        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.HeldInterrupt)), 4).Clear();
        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.CodeTags)), 2 * 8).Clear();
        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.Engine)), 128 * 8).Clear();
        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.TlbModes)), 4 * 8).Clear();
        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.CodeHasLarge)), 2 * 8).Clear();
        bytes.AsSpan((int)Marshal.OffsetOf<CpuState>(nameof(CpuState.Walk)), sizeof(PageWalkControls)).Clear();
        int area = (int)(s->XsaveArea - (byte*)s);
        bytes.AsSpan(area + 512, 64).Clear();
        return bytes;
    }
}
