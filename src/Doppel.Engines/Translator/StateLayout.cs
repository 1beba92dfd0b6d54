using System.Runtime.InteropServices;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Engines.Translator;

/// <summary>
/// Offsets of the words of <see cref="CpuState"/> that emitted code reaches through RSP (stubs also through the GS base), named once. The engine's
/// own words are at <see cref="CpuState.Engine"/>.
/// </summary>
internal static unsafe class StateLayout
{
    internal static readonly int Gpr = Offset(nameof(Gpr));
    internal static readonly int CodePage = Offset(nameof(CodePage));
    internal static readonly int Tlb = Offset(nameof(Tlb));
    internal static readonly int Ram = Offset(nameof(Ram));
    internal static readonly int PendingEvents = Offset(nameof(PendingEvents));
    internal static readonly int InstructionsRetired = Offset(nameof(InstructionsRetired));
    internal static readonly int FsBase = Offset(nameof(FsBase));
    internal static readonly int GsBase = Offset(nameof(GsBase));
    internal static readonly int CodeTags = Offset(nameof(CodeTags));

    /// <summary>Four words: TLB tables by <see cref="Machine.Cpu.Mmu.TlbMode"/>.</summary>
    internal static readonly int TlbModes = Offset(nameof(TlbModes));

    /// <summary>Points at the records of the cached address spaces (<see cref="Machine.Cpu.Mmu.TlbSlot"/>).</summary>
    internal static readonly int TlbSlots = Offset(nameof(TlbSlots));

    /// <summary>The <see cref="Machine.Cpu.Mmu.PageWalkControls"/>.</summary>
    internal static readonly int Walk = Offset(nameof(Walk));

    /// <summary>Its <see cref="Machine.Cpu.Mmu.PageWalkControls.KernelMode"/>.</summary>
    internal static readonly int KernelMode = Walk + (int)Marshal.OffsetOf<PageWalkControls>(nameof(PageWalkControls.KernelMode));

    internal static readonly int PageFlags = Offset(nameof(PageFlags));
    internal static readonly int Cr0 = Offset(nameof(Cr0));
    internal static readonly int Cr2 = Offset(nameof(Cr2));
    internal static readonly int Cr3 = Offset(nameof(Cr3));
    internal static readonly int LastCodeTag = Offset(nameof(LastCodeTag));
    internal static readonly int CodeHasLarge = Offset(nameof(CodeHasLarge));
    internal static readonly int CodeHasLocalUpper = Offset(nameof(CodeHasLocalUpper));
    internal static readonly int Engine = Offset(nameof(Engine));

    internal static readonly int EngineNear = Offset(nameof(EngineNear));

    /// <summary>
    /// What the state pointer of emitted code is ahead of the state. Displacements of one byte then reach the general
    /// registers and the 15 words behind them, which is where the words are that most instructions need. RSP is that pointer:
    /// what a signal of the host leaves alone below it (128 bytes, System V ABI AMD64, 3.2.2) covers the registers, and a
    /// push lands in the word of guest R14, which is dead while R14 is in its host register.
    /// </summary>
    internal const int Bias = 120;

    /// <summary>Mask for PEXT that makes a TLB index of a linear address.</summary>
    internal static readonly int IndexMask = EngineNear;

    /// <summary>All ones but the low 12 bits.</summary>
    internal static readonly int PageMask = EngineNear + 8;

    /// <summary>The low 12 bits.</summary>
    internal static readonly int OffsetMask = Engine + 16;

    /// <summary>The low 4 bits.</summary>
    internal static readonly int AlignMask = Engine + 24;

    /// <summary>Guest status flags while C# runs, in the form of RFLAGS.</summary>
    internal static readonly int HostFlags = Engine + 32;

    /// <summary>The host's stack pointer while emitted code runs.</summary>
    internal static readonly int HostStack = Engine + 40;

    /// <summary>Where emitted code is entered.</summary>
    internal static readonly int EnterTarget = Engine + 48;

    /// <summary>Number of the exit that was taken.</summary>
    internal static readonly int ExitId = EngineNear + 16;

    /// <summary>The linear address that missed the TLB, or the target of an indirect branch.</summary>
    internal static readonly int ExitAddress = EngineNear + 24;

    /// <summary>The words of <see cref="Translator.BlockTable"/>.</summary>
    internal static readonly int BlockTable = Engine + 72;

    /// <summary>Start of the executable mapping of the code cache.</summary>
    internal static readonly int CodeBase = Engine + 80;

    /// <summary>The host's MXCSR while emitted code runs.</summary>
    internal static readonly int HostMxcsr = Engine + 88;

    /// <summary>The current variant of translation, as <see cref="Translator.BlockTable"/> counts it.</summary>
    internal static readonly int Variant = Engine + 96;

    /// <summary>The host address of guest-physical 0, negated.</summary>
    internal static readonly int NegatedRam = Engine + 104;

    /// <summary>
    /// An operand that was read from memory and waits for the second access of its instruction. That access retries on its
    /// own: two addresses with one TLB index would otherwise evict each other for ever.
    /// </summary>
    internal static readonly int Operand = Engine + 112;

    /// <summary>What makes an index of <see cref="JumpCache"/>; 0, for its first entry, while an event is pending.</summary>
    internal static readonly int EventMask = Offset(nameof(EventMask));

    /// <summary>Bit 47: the upper half of the linear addresses.</summary>
    internal static readonly int HalfMask = Engine + 128;

    /// <summary>What makes the index of a page's byte at <see cref="CpuStateBlock.CodePagesOffset"/>.</summary>
    internal static readonly int CodePageMask = Engine + 136;

    /// <summary>A code address that waits while the look-up fills <see cref="JumpCache"/>.</summary>
    internal static readonly int Found = Engine + 144;

    /// <summary>The low 6 bits.</summary>
    internal static readonly int BitMask64 = Engine + 152;

    private const int NearGroups = 4;

    private static readonly int Groups = CpuStateBlock.EngineAreaOffset + (2 * JumpCache.Entries * sizeof(ulong));

    /// <summary>Distance from guest to host addresses of a group of accesses of the running block (<see cref="AccessGroups"/>).</summary>
    internal static int Group(int number) => (sizeof(ulong) * number) + (number < NearGroups ? EngineNear + 32 : Groups);

    /// <summary>What makes an index of <see cref="Translator.BlockTable"/>.</summary>
    internal static readonly int BlockTableMask = Engine + 160;

    /// <summary>With a budget: minus one less the number of retired instructions at which it is used up.</summary>
    internal static readonly int NegatedLimit = Engine + 248;

    /// <summary>The top bit.</summary>
    internal static readonly int SignMask = Engine + 240;

    /// <summary>The low 5 bits.</summary>
    internal static readonly int AlignMask32 = Engine + 232;

    /// <summary>The selector of a segment register, 16 bits.</summary>
    internal static int Selector(Segment segment)
    {
        CpuState state;
        CpuState* s = &state;
        return (int)((byte*)&s->SegmentAt(segment)->Selector - (byte*)s);
    }

    /// <summary>Eight words where stubs keep registers.</summary>
    internal static readonly int Spill = Engine + (8 * 96);

    /// <summary>Where <see cref="RefillStub"/> goes when the access may be tried again.</summary>
    internal static readonly int RefillReturn = Engine + (8 * 104);

    /// <summary>
    /// Not zero when emitted code has set bits in a page table entry on a watched page: its guest-physical address and 1.
    /// C# must report the write.
    /// </summary>
    internal static readonly int NotedWrite = Engine + (8 * 105);

    /// <summary>CR2 of a page fault that emitted code has found.</summary>
    internal static readonly int FaultAddress = Engine + (8 * 106);

    /// <summary>Error code of a page fault that emitted code has found.</summary>
    internal static readonly int FaultError = Engine + (8 * 107);

    /// <summary>What makes the index of <see cref="Machine.Cpu.Mmu.PageWalkControls.Rights"/> of inverted page table entries.</summary>
    internal static readonly int DeniedMask = Engine + (8 * 108);

    /// <summary>All bits of RFLAGS but AC.</summary>
    internal static readonly int AllButAlignment = Engine + (8 * 109);

    /// <summary>DF.</summary>
    internal static readonly int DirectionMask = Engine + (8 * 110);

    /// <summary>Where <see cref="RepeatStub"/> goes on.</summary>
    internal static readonly int RepeatReturn = Engine + (8 * 111);

    /// <summary>Distance of the host address from the source of <see cref="RepeatStub"/>.</summary>
    internal static readonly int RepeatSource = Engine + (8 * 112);

    private static int Offset(string field)
    {
        CpuState state;
        CpuState* s = &state;
        void* p = field switch
        {
            nameof(Gpr) => s->Gpr,
            nameof(CodePage) => &s->CodePage,
            nameof(Tlb) => &s->Tlb,
            nameof(Ram) => &s->Ram,
            nameof(PendingEvents) => &s->PendingEvents,
            nameof(InstructionsRetired) => &s->InstructionsRetired,
            nameof(FsBase) => &s->Fs.Base,
            nameof(GsBase) => &s->Gs.Base,
            nameof(CodeTags) => s->CodeTags,
            nameof(TlbSlots) => &s->TlbSlots,
            nameof(Walk) => &s->Walk,
            nameof(PageFlags) => &s->PageFlags,
            nameof(Cr0) => &s->Cr0,
            nameof(Cr2) => &s->Cr2,
            nameof(Cr3) => &s->Cr3,
            nameof(LastCodeTag) => &s->LastCodeTag,
            nameof(CodeHasLarge) => s->CodeHasLarge,
            nameof(EngineNear) => s->EngineNear,
            nameof(EventMask) => &s->EventMask,
            nameof(CodeHasLocalUpper) => &s->CodeHasLocalUpper,
            nameof(TlbModes) => s->TlbModes,
            _ => s->Engine,
        };
        return (int)((byte*)p - (byte*)s);
    }
}
