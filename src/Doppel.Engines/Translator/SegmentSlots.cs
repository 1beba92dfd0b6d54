using Doppel.Machine.Cpu;

namespace Doppel.Engines.Translator;

/// <summary>
/// Words of the vCPU's state by which translated 16- and 32-bit code checks segments. For each of ES to GS one says how far
/// reads reach and one how far writes reach: 2 to the 32nd less one less the limit, so that an offset of the last byte
/// beyond it carries into bit 32; where no offset is certain to do (expand-down, null, no such right) it always carries, and
/// the interpreter finds out. They follow from the segment registers and are made again where C# may have loaded one.
/// </summary>
internal static unsafe class SegmentSlots
{
    private const int FirstWord = 32;
    private const int Segments = 6;
    private const ulong Beyond = 1UL << 32;

    /// <summary>How far code reaches, as above.</summary>
    internal static readonly int CodeReach = Word(2 * Segments);

    /// <summary>
    /// What is added to linear addresses of code to make keys of <see cref="JumpCache"/> that no 64-bit code has: bit 47,
    /// and above bit 32 the mode and the privilege.
    /// </summary>
    internal static readonly int CodeKey = Word((2 * Segments) + 1);

    /// <summary>All but the low 16 bits.</summary>
    internal static readonly int AllButLow16 = Word((2 * Segments) + 2);

    /// <summary>The upper half.</summary>
    internal static readonly int UpperHalf = Word((2 * Segments) + 3);

    /// <summary>RFLAGS.ID, which a 16-bit POPF leaves alone.</summary>
    internal static readonly int IdentificationMask = Word((2 * Segments) + 4);

    /// <summary>The attributes of a segment that a load in real mode replaces.</summary>
    internal static readonly int RealRightsMask = Word((2 * Segments) + 5);

    /// <summary>How far reads of a segment reach.</summary>
    internal static int ReadReach(Segment segment) => Word((int)segment);

    /// <summary>How far writes to a segment reach.</summary>
    internal static int WriteReach(Segment segment) => Word(Segments + (int)segment);

    /// <summary>The base of a segment.</summary>
    internal static int Base(Segment segment) => StateLayout.Selector(segment) - SystemSlots.Selector;

    /// <summary>Writes the masks.</summary>
    internal static void Initialize(CpuState* state)
    {
        Set(state, AllButLow16, ~0xFFFFUL);
        Set(state, UpperHalf, ~(ulong)uint.MaxValue);
        Set(state, IdentificationMask, CpuFlags.Id);
        Set(state, RealRightsMask, (ulong)~(SegmentAttributes.Big | SegmentAttributes.Granularity | SegmentAttributes.Available));
    }

    /// <summary>Makes what follows from the segment registers. Not for 64-bit mode.</summary>
    internal static void Update(CpuState* state, TranslationVariant variant)
    {
        bool isReal = state->IsRealMode || state->IsVirtual8086;
        for (int i = 0; i < Segments; i++)
        {
            SegmentRegister* segment = state->SegmentAt((Segment)i);
            ulong reach = uint.MaxValue - segment->Limit;
            const SegmentAttributes KindMask = SegmentAttributes.Code | SegmentAttributes.ExpandDownOrConforming;
            if ((segment->Attributes & KindMask) == SegmentAttributes.ExpandDownOrConforming)
                reach = Beyond;
            Set(state, ReadReach((Segment)i), isReal || IsReadable(segment->Attributes) ? reach : Beyond);
            Set(state, WriteReach((Segment)i), isReal || IsWritable(segment->Attributes) ? reach : Beyond);
        }

        Set(state, CodeReach, uint.MaxValue - state->Cs.Limit);
        Set(state, CodeKey, KeyOf(variant));
    }

    /// <summary><see cref="CodeKey"/> of a variant.</summary>
    internal static ulong KeyOf(TranslationVariant variant) => (1UL << 47) | ((ulong)(variant & (TranslationVariant.Mode | TranslationVariant.User)) << 32);

    private static bool IsReadable(SegmentAttributes attributes) =>
        (attributes & SegmentAttributes.Unusable) == 0 &&
        (attributes & (SegmentAttributes.Code | SegmentAttributes.WritableOrReadable)) != SegmentAttributes.Code;

    private static bool IsWritable(SegmentAttributes attributes) =>
        (attributes & (SegmentAttributes.Unusable | SegmentAttributes.Code | SegmentAttributes.WritableOrReadable)) == SegmentAttributes.WritableOrReadable;

    private static int Word(int number) => StateLayout.Engine + (sizeof(ulong) * (FirstWord + number));

    private static void Set(CpuState* state, int slot, ulong value) => *(ulong*)((byte*)state + slot) = value;
}
