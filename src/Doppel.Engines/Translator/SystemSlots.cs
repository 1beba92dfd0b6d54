using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Memory;

namespace Doppel.Engines.Translator;

/// <summary>
/// Offsets from the vCPU's state of what translated system instructions use beside <see cref="StateLayout"/>: fields of
/// <see cref="CpuState"/>, and masks for PEXT and PDEP in its engine words, which <see cref="Initialize"/> writes.
/// </summary>
internal static unsafe class SystemSlots
{
    /// <summary>RFLAGS without the status flags.</summary>
    internal static readonly int FlagSystem = Offset(nameof(FlagSystem));

    /// <summary>The word that holds PendingEvents and, above it, HeldInterrupt: zero when interrupts may be let in unseen.</summary>
    internal static readonly int Work = StateLayout.PendingEvents;

    internal static readonly int KernelGsBase = Offset(nameof(KernelGsBase));
    internal static readonly int Cr4 = Offset(nameof(Cr4));
    internal static readonly int Efer = Offset(nameof(Efer));
    internal static readonly int Star = Offset(nameof(Star));
    internal static readonly int Lstar = Offset(nameof(Lstar));
    internal static readonly int SyscallMask = Offset(nameof(SyscallMask));
    internal static readonly int Cpl = Offset(nameof(Cpl));
    internal static readonly int Shadow = Offset(nameof(Shadow));
    internal static readonly int Es = Offset(nameof(Es));
    internal static readonly int Cs = Offset(nameof(Cs));
    internal static readonly int Ss = Offset(nameof(Ss));
    internal static readonly int Ds = Offset(nameof(Ds));
    internal static readonly int Fs = Offset(nameof(Fs));
    internal static readonly int Gs = Offset(nameof(Gs));
    internal static readonly int Tr = Offset(nameof(Tr));
    internal static readonly int Gdtr = Offset(nameof(Gdtr));
    internal static readonly int Idtr = Offset(nameof(Idtr));
    internal static readonly int Cr2 = Offset(nameof(Cr2));
    internal static readonly int TscOffset = Offset(nameof(TscOffset));
    internal static readonly int TscAux = Offset(nameof(TscAux));
    internal static readonly int ExceptionsDelivered = Offset(nameof(ExceptionsDelivered));

    /// <summary>Limit in a segment register, with the attributes above it in one qword; base is first.</summary>
    internal static readonly int Limit = (int)Marshal.OffsetOf<SegmentRegister>(nameof(SegmentRegister.Limit));

    /// <summary>Attributes in a segment register.</summary>
    internal static readonly int Attributes = (int)Marshal.OffsetOf<SegmentRegister>(nameof(SegmentRegister.Attributes));

    /// <summary>The selector in a segment register, with nothing above it in its qword.</summary>
    internal static readonly int Selector = (int)Marshal.OffsetOf<SegmentRegister>(nameof(SegmentRegister.Selector));

    /// <summary>Limit in GDTR and IDTR; base is first.</summary>
    internal static readonly int TableLimit = (int)Marshal.OffsetOf<DescriptorTableRegister>(nameof(DescriptorTableRegister.Limit));

    private const int FirstWord = 64;

    /// <summary>The six status flags.</summary>
    internal static readonly int StatusMask = Word(0);

    /// <summary>All but IF.</summary>
    internal static readonly int AllButInterrupt = Word(1);

    /// <summary>All but DF.</summary>
    internal static readonly int AllButDirection = Word(2);

    /// <summary>IF.</summary>
    internal static readonly int InterruptMask = Word(3);

    /// <summary>OF.</summary>
    internal static readonly int OverflowMask = Word(4);

    /// <summary>What POPF changes at CPL 0 beside the status flags, as far as it is translated.</summary>
    internal static readonly int KernelFlags = Word(5);

    /// <summary>The same at CPL 3 with IOPL 0.</summary>
    internal static readonly int UserFlags = Word(6);

    /// <summary>Flags that must be clear in what is popped: they change more than RFLAGS.</summary>
    internal static readonly int UnusualPopped = Word(7);

    /// <summary>Flags that must be clear before POPF at CPL 0.</summary>
    internal static readonly int UnusualKernel = Word(8);

    /// <summary>Flags that must be clear before POPF at CPL 3.</summary>
    internal static readonly int UnusualUser = Word(9);

    /// <summary>CR4.FSGSBASE.</summary>
    internal static readonly int FsGsBaseMask = Word(10);

    /// <summary>2 to the 47th: added to a canonical address it leaves the upper 16 bits clear.</summary>
    internal static readonly int HalfSpace = Word(11);

    /// <summary>The upper 16 bits.</summary>
    internal static readonly int BeyondCanonical = Word(12);

    /// <summary>The array of <see cref="ExitTable"/>.</summary>
    internal static readonly int ExitOffsets = Word(13);

    /// <summary>Not zero while something outside wants to hear of each exception.</summary>
    internal static readonly int Traced = Word(14);

    /// <summary>During a delivery: the table of the TLB for the processor's own accesses.</summary>
    internal static readonly int SystemTable = Word(15);

    /// <summary>During a delivery: the table of the TLB for the handler's stack.</summary>
    internal static readonly int StackTable = Word(16);

    /// <summary>During a delivery: limit and attributes of the handler's code segment.</summary>
    internal static readonly int CodeHidden = Word(17);

    /// <summary>The line of <see cref="HostTime"/>: its slope times 2 to the 64th; 0 while it is not known.</summary>
    internal static readonly int TscScale = Word(18);

    /// <summary>The host's TSC where the line begins, negated.</summary>
    internal static readonly int TscNegatedBase = Word(19);

    /// <summary>The guest's TSC where the line begins.</summary>
    internal static readonly int TscBias = Word(20);

    /// <summary>CR4.TSD.</summary>
    internal static readonly int TsdMask = Word(21);

    /// <summary><see cref="GuestMemory.CodeGranules"/>; 0 in machines with several vCPUs, one of which could translate what another is about to write.</summary>
    internal static readonly int CodeGranules = Word(22);

    /// <summary>The records of <see cref="ExitTable"/>.</summary>
    internal static readonly int ExitRecords = Word(23);

    /// <summary>Writes the masks into a vCPU's state.</summary>
    internal static void Initialize(CpuState* state)
    {
        const ulong Changed = CpuFlags.Df | CpuFlags.Nt | CpuFlags.Id;
        const ulong Unusual = CpuFlags.Ac | CpuFlags.Vif | CpuFlags.Vip;
        Set(state, StatusMask, CpuFlags.Status);
        Set(state, AllButInterrupt, ~CpuFlags.If);
        Set(state, AllButDirection, ~CpuFlags.Df);
        Set(state, InterruptMask, CpuFlags.If);
        Set(state, OverflowMask, CpuFlags.Of);
        Set(state, KernelFlags, Changed | CpuFlags.If | CpuFlags.Iopl);
        Set(state, UserFlags, Changed);
        Set(state, UnusualPopped, CpuFlags.Tf | CpuFlags.Ac);
        Set(state, UnusualKernel, Unusual);
        Set(state, UnusualUser, Unusual | CpuFlags.Iopl);
        Set(state, FsGsBaseMask, Machine.Cpu.Cr4.Fsgsbase);
        Set(state, TsdMask, Machine.Cpu.Cr4.Tsd);
        Set(state, HalfSpace, 1UL << 47);
        Set(state, BeyondCanonical, 0xFFFFUL << 48);
    }

    private static int Word(int number) => StateLayout.Engine + (sizeof(ulong) * (FirstWord + number));

    private static void Set(CpuState* state, int slot, ulong value) => *(ulong*)((byte*)state + slot) = value;

    private static int Offset(string field)
    {
        CpuState state;
        CpuState* s = &state;
        void* p = field switch
        {
            nameof(FlagSystem) => &s->FlagSystem,
            nameof(KernelGsBase) => &s->KernelGsBase,
            nameof(Cr4) => &s->Cr4,
            nameof(Efer) => &s->Efer,
            nameof(Star) => &s->Star,
            nameof(Lstar) => &s->Lstar,
            nameof(SyscallMask) => &s->SyscallMask,
            nameof(Cpl) => &s->Cpl,
            nameof(Shadow) => &s->Shadow,
            nameof(Es) => &s->Es,
            nameof(Cs) => &s->Cs,
            nameof(Ss) => &s->Ss,
            nameof(Ds) => &s->Ds,
            nameof(Fs) => &s->Fs,
            nameof(Gs) => &s->Gs,
            nameof(Tr) => &s->Tr,
            nameof(Gdtr) => &s->Gdtr,
            nameof(Idtr) => &s->Idtr,
            nameof(Cr2) => &s->Cr2,
            nameof(TscOffset) => &s->TscOffset,
            nameof(TscAux) => &s->TscAux,
            nameof(ExceptionsDelivered) => &s->ExceptionsDelivered,
            _ => throw new ArgumentOutOfRangeException(nameof(field), field, "no such field"),
        };
        return (int)((byte*)p - (byte*)s);
    }
}
