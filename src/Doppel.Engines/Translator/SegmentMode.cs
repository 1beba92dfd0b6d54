using Doppel.Machine.Cpu;

namespace Doppel.Engines.Translator;

/// <summary>Which <see cref="TranslationVariant.Mode"/> a vCPU's code is executed in.</summary>
internal static unsafe class SegmentMode
{
    private const SegmentAttributes DataMask = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.Code |
        SegmentAttributes.ExpandDownOrConforming | SegmentAttributes.WritableOrReadable | SegmentAttributes.Unusable;

    private const SegmentAttributes WritableData = SegmentAttributes.Present | SegmentAttributes.CodeOrData | SegmentAttributes.WritableOrReadable;

    // 16-bit branches cut their target to this.
    private const uint Reach16 = 0xFFFF;

    /// <summary>The mode of the current code; false when such code is not translated.</summary>
    internal static bool TryGet(CpuState* s, out TranslationVariant mode)
    {
        mode = TranslationVariant.None;
        if (s->Is64Bit)
            return true;
        bool isReal = s->IsRealMode || s->IsVirtual8086;
        bool isBigStack = s->Ss.Has(SegmentAttributes.Big);
        if (s->Cs.Has(SegmentAttributes.Big))
        {
            if (isReal)
                return false;
            mode = HasFlatSegments(s) ? TranslationVariant.Flat32
                : isBigStack ? TranslationVariant.Segmented32
                : TranslationVariant.Segmented32Stack16;
            return true;
        }

        mode = isBigStack ? TranslationVariant.Segmented16Stack32 : isReal ? TranslationVariant.Real : TranslationVariant.Segmented16;
        return s->Cs.Limit >= Reach16;
    }

    /// <summary>True of variants in which offsets in CS are linear addresses.</summary>
    internal static bool IsFlat(TranslationVariant variant) => (variant & TranslationVariant.Mode) is TranslationVariant.None or TranslationVariant.Flat32;

    /// <summary>The linear address of an offset in CS.</summary>
    internal static ulong LinearOf(CpuState* s, ulong offset) => s->Is64Bit ? offset : (uint)(s->Cs.Base + offset);

    private static bool HasFlatSegments(CpuState* s) =>
        s->Cs.Base == 0 && s->Cs.Limit == uint.MaxValue && s->Ss.Has(SegmentAttributes.Big) &&
        IsFlatData(s->Ds) && IsFlatData(s->Es) && IsFlatData(s->Ss);

    private static bool IsFlatData(in SegmentRegister segment) =>
        segment.Base == 0 && segment.Limit == uint.MaxValue && (segment.Attributes & DataMask) == WritableData;
}
